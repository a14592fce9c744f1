"""See, explain and prevent unstable training of transformers.

Names are loaded when first used, so that reading logs imports no torch.
"""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.callbacks import StabilityMonitor
    from stabilitykit.monitor import watch
    from stabilitykit.replay import diagnose

__all__ = ["StabilityMonitor", "__version__", "diagnose", "watch"]

__version__ = "0.1.0"

_ROOMS = {
    "StabilityMonitor": "stabilitykit.callbacks",
    "diagnose": "stabilitykit.replay",
    "watch": "stabilitykit.monitor",
}


__getattr__ = lazy(__name__, _ROOMS)


def __dir__() -> list[str]:
    return sorted(__all__)
