"""Tokens that become alike within a short time."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.detector import Row
from stabilitykit.detect.growth import Growth


class RankCollapse(Growth):
    """Flags a residual line whose tokens come to point the same way.

    ``act/token_spread`` is 1 for independent tokens and 0 where all are alike: it must have fallen to a
    fraction of itself, and be small. Evidence only: a channel that is large on every token, or a mean that
    all share, makes healthy tokens alike too.

    Args:
        factor: Fall within 20 readings that counts.
        spread: Largest spread that counts.
    """

    kind: ClassVar[str] = "rank_collapse"
    statistics: ClassVar[tuple[str, ...]] = ("act/token_spread",)
    direction: ClassVar[int] = -1

    def __init__(self, factor: float = 3.0, spread: float = 0.1) -> None:
        super().__init__(factor, spread=spread)
        self._spread = spread

    def _also(self, level: Row) -> NDArray[np.bool_]:
        return level <= self._spread

    def _threshold(self, band: float) -> float:
        return min(band, self._spread)

    def _message(self, site: str, value: float, reference: float, since: int) -> str:
        return (
            f"tokens at {site} have become alike: their mean cosine has risen from {1 - reference:.2f} to "
            f"{1 - value:.2f}"
        )
