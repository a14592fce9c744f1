"""See, explain and prevent unstable training of transformers.

Names are loaded when first used, so that reading logs imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
