"""Attention that narrows to a few keys, or becomes uniform, within a short time."""

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.detector import Row, interleaved, log_row
from stabilitykit.detect.growth import Growth

_EVEN = 1e-6
"""What entropies in float32 may miss of their maximum."""


class EntropyCollapse(Growth):
    """Flags a block whose attention loses its structure, in either direction.

    Looks at the mean over the heads of a block of H/ln n, the entropy over its maximum: where it falls, a
    larger share of heads has narrowed to a few keys (Zhai 2303.06296), while a single narrow head is
    ordinary. What H misses of its maximum is looked at as well: where that is gone, attention is uniform,
    which is how post-norm fails. Evidence only: no numeric limit has been published.

    Args:
        factor: Fall of the mean entropy within 20 records that counts.
        even: Fall, within 20 records, of what the entropy misses of its maximum.
        rest: Least that a block in use misses of it.
    """

    kind: ClassVar[str] = "entropy_collapse"
    statistics: ClassVar[tuple[str, ...]] = ("attn/entropy",)
    direction: ClassVar[int] = -1
    VIEWS: ClassVar[int] = 2

    def __init__(self, factor: float = 4.0, even: float = 50.0, rest: float = 5e-4) -> None:
        super().__init__(math.log(factor), factor=factor, even=even, rest=rest)
        self._limit_even = math.log(even)
        self._rest = math.log(rest)

    def _logs(self, row: Row) -> Row:
        return log_row(np.maximum(interleaved(row, 1 - row), _EVEN))

    def _level(self, place: int, log: float) -> float:
        return 1 - math.exp(log) if place % 2 else math.exp(log)

    def _limit_at(self, site: str, view: int) -> float:
        return self._limit_even if view else self._limit

    def _also(self, smooth: Row) -> NDArray[np.bool_]:
        holds = np.ones(smooth.size, dtype=bool)
        holds[1::2] = smooth[1::2] < self._rest
        return holds

    def _message(self, site: str, value: float, reference: float) -> str:
        if value > reference:
            return f"attention of {site} has become uniform: its entropy is {value:.4f} of the maximum"
        return (
            f"attention of {site} has narrowed: its mean entropy has fallen from {reference:.2f} to "
            f"{value:.2f} of the maximum"
        )
