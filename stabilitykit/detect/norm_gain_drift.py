"""Norm gains that move far within a short time."""

from typing import ClassVar

from stabilitykit.detect.growth import Growth


class NormGainDrift(Growth):
    """Flags a norm whose gain grows within 20 steps by a factor that gains do not reach by learning.

    Args:
        factor: Growth within 20 steps that counts.
    """

    kind: ClassVar[str] = "norm_gain_drift"
    statistics: ClassVar[tuple[str, ...]] = ("norm/gain_rms",)

    def __init__(self, factor: float = 1.5) -> None:
        super().__init__(factor)

    def _message(self, site: str, value: float, reference: float, since: int) -> str:
        return f"the gain of {site} has grown {value / reference:.3g}-fold, to RMS {value:.3g}"
