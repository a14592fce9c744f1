"""Tokens that become alike within a short time."""

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.detector import Row
from stabilitykit.detect.growth import Growth


class RankCollapse(Growth):
    """Flags a residual stream whose tokens come to point the same way.

    ``act/token_spread`` is 1 for independent tokens and 0 where all are alike: it must have fallen to a
    fraction of itself, and be small. Evidence only: a channel that is large on every token, or a mean that
    all share, makes healthy tokens alike too.

    It is read at every tenth observed step, so the windows are short: early in training healthy tokens
    are alike for a reading or two.

    Args:
        factor: Fall within ten readings that counts.
        spread: Largest spread that counts.
    """

    kind: ClassVar[str] = "rank_collapse"
    statistics: ClassVar[tuple[str, ...]] = ("act/token_spread",)
    direction: ClassVar[int] = -1
    SMOOTH: ClassVar[int] = 3
    LAG: ClassVar[int] = 10
    ARMED: ClassVar[int] = 3
    FORGET: ClassVar[int] = 50

    def __init__(self, factor: float = 30.0, spread: float = 0.01) -> None:
        super().__init__(math.log(factor), factor=factor, spread=spread)
        self._spread = spread

    def _also(self, smooth: Row) -> NDArray[np.bool_]:
        alike: NDArray[np.bool_] = smooth <= math.log(self._spread)
        return alike

    def _threshold(self, band: float) -> float:
        return min(band, self._spread)

    def _message(self, site: str, value: float, reference: float) -> str:
        return (
            f"tokens at {site} have become alike: their mean cosine has risen from {1 - reference:.2f} to "
            f"{1 - value:.4f}"
        )
