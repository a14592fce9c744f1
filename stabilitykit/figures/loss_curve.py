"""A series over a run of any length, in bounded memory: every value that a picture needs is kept."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

BUCKETS = 2048
"""Buckets at most: more than a picture has columns for."""
LAPS = 8
"""Times that a run may go back and be told apart; what comes later is one lap."""


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


class _Bucket:
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

    def join(self, later: "_Bucket") -> None:
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


class LossCurve:
    """The loss, or another series, of a run: thinned as it comes, so that it can be drawn at the end.

    Steps fall into buckets of one width, a power of two that doubles where there are too many buckets. Of
    each the first, lowest, highest and last value are kept with their steps, so a line through them looks
    like the line through all: a spike of one step is never lost. A step before the latest bucket, as after a
    restart from a checkpoint, begins a new lap. A million steps apart or in a row, memory stays the same.

    Args:
        buckets: How many buckets are kept at most, from 32 on.
    """

    def __init__(self, buckets: int = BUCKETS) -> None:
        self.width = 1
        """Steps a bucket."""
        self.points = 0
        """Values taken in."""
        self._limit = buckets
        self._laps: list[dict[int, _Bucket]] = [{}]
        self._count = 0
        self._at: int | None = None
        self._bucket = _Bucket()
        self._drawn: tuple[Lap, ...] = ()
        self._drawn_at = 0

    def add(self, step: int, loss: float) -> None:
        """Take in one value; steps may be far apart, repeat and go back."""
        self.points += 1
        at = step // self.width
        if at != self._at:
            self._bucket = self._move(at)
        bucket = self._bucket
        if not math.isfinite(loss):
            bucket.broken = step if bucket.broken is None else min(step, bucket.broken)
            return
        point = bucket.last = (step, loss)
        # A comparison with NaN, which stands for no value yet, is false.
        if not loss >= bucket.low[1]:
            bucket.low = point
        if not loss <= bucket.high[1]:
            bucket.high = point
        if bucket.first[1] != bucket.first[1]:
            bucket.first = point

    @property
    def laps(self) -> tuple[Lap, ...]:
        """The lines to draw, the newest last; none where nothing was taken in."""
        if self._drawn_at != self.points:
            self._drawn = tuple(_lap(buckets) for buckets in self._laps if buckets)
            self._drawn_at = self.points
        return self._drawn

    @property
    def span(self) -> tuple[int, int]:
        """The lowest and the highest step; (0, 0) where there is none."""
        ends = [int(end) for lap in self.laps for end in (lap.steps[0], lap.steps[-1])]
        return (min(ends), max(ends)) if ends else (0, 0)

    @property
    def values(self) -> Float[np.ndarray, " values"]:
        """The finite values kept, in no order."""
        kept = np.concatenate([np.empty(0), *(lap.values for lap in self.laps)])
        finite: NDArray[np.float64] = kept[np.isfinite(kept)]
        return finite

    @property
    def is_broken(self) -> bool:
        """Whether some values were not finite."""
        return any(lap.broken.size for lap in self.laps)

    def near(self, step: int) -> tuple[int, float] | None:
        """Return step and value of the highest in the bucket of ``step``; None where there is none."""
        for buckets in reversed(self._laps):
            bucket = buckets.get(step // self.width)
            if bucket is not None and not math.isnan(bucket.high[1]):
                return bucket.high
        return None

    def thinned(self, buckets: int) -> "LossCurve":
        """Return the curve in fewer buckets.

        Args:
            buckets: How many at most, from 32 on.
        """
        thin = LossCurve(buckets)
        thin.width = self.width
        for lap in self.laps:
            for step, value in zip(lap.steps.tolist(), lap.values.tolist(), strict=True):
                thin.add(int(step), value)
        return thin

    def _move(self, at: int) -> _Bucket:
        """Return the bucket at an index, which becomes the current one."""
        if self._at is not None and at < self._at and len(self._laps) < LAPS:
            self._laps.append({})
        bucket = self._laps[-1].get(at)
        if bucket is None:
            bucket = self._laps[-1][at] = _Bucket()
            self._count += 1
        self._at = at
        if self._count > self._limit:
            self._widen(at)
            bucket = self._laps[-1][self._at]
        return bucket

    def _widen(self, at: int) -> None:
        # Each turn doubles the width, so over a whole run there are no more turns than a step has bits. Two
        # buckets a lap stay in the end, of negative steps and of others.
        while self._count > max(self._limit // 2, 2 * LAPS):
            self.width *= 2
            at //= 2
            self._laps = [_paired(buckets) for buckets in self._laps]
            self._count = sum(len(buckets) for buckets in self._laps)
        self._at = at


def _paired(buckets: dict[int, _Bucket]) -> dict[int, _Bucket]:
    wide: dict[int, _Bucket] = {}
    for at in sorted(buckets):
        if at // 2 in wide:
            wide[at // 2].join(buckets[at])
        else:
            wide[at // 2] = buckets[at]
    return wide


def _lap(buckets: dict[int, _Bucket]) -> Lap:
    points = [point for at in sorted(buckets) for point in buckets[at].points()]
    steps = np.array([step for step, _ in points], dtype=np.float64)
    return Lap(steps, np.array([value for _, value in points], dtype=np.float64))


def _value(point: tuple[int, float]) -> float:
    return point[1]
