"""See, explain and prevent unstable training of transformers.

Names are loaded when first used, so that reading logs imports no torch.
"""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.callbacks import StabilityMonitor, StabilityTrainerCallback
    from stabilitykit.loop import watch
    from stabilitykit.observe import SiteRules, Statistic
    from stabilitykit.reactions import Command, WebAddress
    from stabilitykit.replay import diagnose

__all__ = [
    "Command",
    "SiteRules",
    "StabilityMonitor",
    "StabilityTrainerCallback",
    "Statistic",
    "WebAddress",
    "__version__",
    "diagnose",
    "watch",
]

__version__ = "0.1.0"

_ROOMS = {
    "Command": "stabilitykit.reactions",
    "SiteRules": "stabilitykit.observe",
    "StabilityMonitor": "stabilitykit.callbacks",
    "WebAddress": "stabilitykit.reactions",
    "StabilityTrainerCallback": "stabilitykit.callbacks",
    "Statistic": "stabilitykit.observe",
    "diagnose": "stabilitykit.replay",
    "watch": "stabilitykit.loop",
}


__getattr__ = lazy(__name__, _ROOMS)


def __dir__() -> list[str]:
    return sorted(__all__)
