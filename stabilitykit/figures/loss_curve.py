"""A series over a run of any length, in bounded memory: every value that a picture needs is kept."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from stabilitykit.figures.laps import Bucket, Lap, lap_of, paired

BUCKETS = 2048
"""Buckets at most: more than a picture has columns for."""
LAPS = 8
"""Times that a run may go back and be told apart; what comes later is one lap."""


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
        self._laps: list[dict[int, Bucket]] = [{}]
        self._count = 0
        self._at: int | None = None
        self._bucket = Bucket()
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
            self._drawn = tuple(lap_of(buckets) for buckets in self._laps if buckets)
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
        """Return step and value of the highest in the buckets of ``step``; None where there is none."""
        found = (buckets.get(step // self.width) for buckets in self._laps)
        highs = [bucket.high for bucket in found if bucket is not None and not math.isnan(bucket.high[1])]
        return max(highs, key=lambda point: point[1], default=None)

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

    def _move(self, at: int) -> Bucket:
        """Return the bucket at an index, which becomes the current one."""
        if self._at is not None and at < self._at and len(self._laps) < LAPS:
            self._laps.append({})
        bucket = self._laps[-1].get(at)
        if bucket is None:
            bucket = self._laps[-1][at] = Bucket()
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
            self._laps = [paired(buckets) for buckets in self._laps]
            self._count = sum(len(buckets) for buckets in self._laps)
        self._at = at
