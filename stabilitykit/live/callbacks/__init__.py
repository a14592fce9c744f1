"""Callbacks of trainers: Lightning's, and Hugging Face's. Each needs its own library only."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.live.callbacks.stability_monitor import StabilityMonitor
    from stabilitykit.live.callbacks.trainer_callback import StabilityTrainerCallback

__all__ = ["StabilityMonitor", "StabilityTrainerCallback"]

__getattr__ = lazy(
    __name__,
    {"stability_monitor": ("StabilityMonitor",), "trainer_callback": ("StabilityTrainerCallback",)},
)
