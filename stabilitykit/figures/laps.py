"""What a thinned series is made of: buckets of neighbouring steps, and the line through them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Lap:
    """One way through the steps without going back, as a line to be drawn."""

    steps: Float[np.ndarray, " points"]
    """Rising; floats, since nobody's log keeps to 64 bits."""
    values: Float[np.ndarray, " points"]
    """Values of the series itself, none of them averaged; NaN where it was not finite."""

    @property
    def broken(self) -> Float[np.ndarray, " breaks"]:
        """Steps at which the series was not finite: the first one of each bucket."""
        steps: NDArray[np.float64] = self.steps[np.isnan(self.values)]
        return steps


class Bucket:
    """First, lowest, highest and last value of some neighbouring steps, each with its step."""

    __slots__ = ("broken", "first", "high", "last", "low")

    def __init__(self) -> None:
        self.first = self.low = self.high = self.last = (0, math.nan)
        self.broken: int | None = None
        """The first step at which the series was not finite."""

    def points(self) -> Iterable[tuple[int, float]]:
        """Return the values kept, in the order of steps."""
        kept = [] if math.isnan(self.first[1]) else [self.first, self.low, self.high, self.last]
        if self.broken is not None:
            kept.append((self.broken, math.nan))
        return sorted(dict.fromkeys(kept), key=lambda point: point[0])

    def join(self, later: "Bucket") -> None:
        """Take in the bucket behind this one."""
        if self.broken is None:
            self.broken = later.broken
        if math.isnan(later.last[1]):
            return
        if math.isnan(self.first[1]):
            self.first, self.low, self.high = later.first, later.low, later.high
        self.low = min(self.low, later.low, key=_value)
        self.high = max(self.high, later.high, key=_value)
        self.last = later.last


def paired(buckets: Mapping[int, Bucket]) -> dict[int, Bucket]:
    """Return buckets, by their index, as half as many of twice the width."""
    wide: dict[int, Bucket] = {}
    for at in sorted(buckets):
        if at // 2 in wide:
            wide[at // 2].join(buckets[at])
        else:
            wide[at // 2] = buckets[at]
    return wide


def lap_of(buckets: Mapping[int, Bucket]) -> Lap:
    """Return the line through buckets, by their index."""
    points = [point for at in sorted(buckets) for point in buckets[at].points()]
    steps = np.array([step for step, _ in points], dtype=np.float64)
    return Lap(steps, np.array([value for _, value in points], dtype=np.float64))


def _value(point: tuple[int, float]) -> float:
    return point[1]
