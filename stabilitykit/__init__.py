"""See, explain and prevent unstable training of transformers.

Names are loaded when first used, so that reading logs imports no torch.
"""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.afterwards.replay import diagnose
    from stabilitykit.lab.claims import sweep
    from stabilitykit.lab.cost import profile
    from stabilitykit.lab.model import Transformer, TransformerConfig, from_hf, preset
    from stabilitykit.lab.probe import probe
    from stabilitykit.lab.training import TextDataModule, TransformerModule
    from stabilitykit.live.callbacks import StabilityMonitor, StabilityTrainerCallback
    from stabilitykit.live.listener import Listener
    from stabilitykit.live.loop import watch
    from stabilitykit.live.reactions import Command, WebAddress
    from stabilitykit.observe import SiteRules, Statistic
    from stabilitykit.store import open_run

__all__ = [
    "Command",
    "Listener",
    "SiteRules",
    "StabilityMonitor",
    "StabilityTrainerCallback",
    "Statistic",
    "TextDataModule",
    "Transformer",
    "TransformerConfig",
    "TransformerModule",
    "WebAddress",
    "__version__",
    "diagnose",
    "from_hf",
    "open_run",
    "preset",
    "probe",
    "profile",
    "sweep",
    "watch",
]

__version__ = "0.1.0"

_MODULES = {
    "afterwards.replay": ("diagnose",),
    "lab.claims": ("sweep",),
    "lab.cost": ("profile",),
    "lab.model": ("Transformer", "TransformerConfig", "from_hf", "preset"),
    "lab.probe": ("probe",),
    "lab.training": ("TextDataModule", "TransformerModule"),
    "live.callbacks": ("StabilityMonitor", "StabilityTrainerCallback"),
    "live.listener": ("Listener",),
    "live.loop": ("watch",),
    "live.reactions": ("Command", "WebAddress"),
    "observe": ("SiteRules", "Statistic"),
    "store": ("open_run",),
}

__getattr__ = lazy(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
