"""Norm gains that move far within a short time."""

import math
from typing import ClassVar

from stabilitykit.detect.detector import Row, interleaved, log_row
from stabilitykit.detect.growth import Growth


class NormGainDrift(Growth):
    """Flags a norm whose gain grows or shrinks within 20 records by a factor that is not reached by learning.

    Evidence only: no limit has been published, and gains that begin near 0 grow by any factor.

    Args:
        factor: Growth or fall within 20 records that counts.
    """

    kind: ClassVar[str] = "norm_gain_drift"
    statistics: ClassVar[tuple[str, ...]] = ("norm/gain_rms",)
    VIEWS: ClassVar[int] = 2

    def __init__(self, factor: float = 1.5) -> None:
        super().__init__(math.log(factor), factor=factor)

    def _logs(self, row: Row) -> Row:
        log = log_row(row)
        return interleaved(log, -log)

    def _level(self, place: int, log: float) -> float:
        return math.exp(-log if place % 2 else log)

    def _message(self, site: str, value: float, reference: float) -> str:
        how, times = ("grown", value / reference) if value > reference else ("shrunk", reference / value)
        return f"the gain of {site} has {how} {times:.3g}-fold, to RMS {value:.3g}"
