"""Lightning callbacks."""

from stabilitykit.callbacks.stability_monitor import StabilityMonitor

__all__ = ["StabilityMonitor"]
