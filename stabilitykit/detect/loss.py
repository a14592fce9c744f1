"""The loss series that all loss detectors look at."""

import dataclasses
import math
from typing import ClassVar, NamedTuple

from stabilitykit.detect.state import Stateful
from stabilitykit.records import StepRecord

LOSS = "train/loss"
UNIGRAM = "train/unigram_cross_entropy"
CROSS_ENTROPY = "train/cross_entropy"


def cross_entropy(record: StepRecord) -> float:
    """Return the cross-entropy, or the loss where nothing is added to it; NaN where neither is recorded.

    A z-loss is part of the loss and not of what the unigram distribution is compared with.
    """
    return record.readings.get(CROSS_ENTROPY, record.readings.get(LOSS, math.nan))


class Loss(NamedTuple):
    """The loss of a step, in nats."""

    value: float
    adjusted: float
    """What it would be on a batch of average difficulty."""

    @property
    def difficulty(self) -> float:
        """How much of the loss is the batch's."""
        return self.value - self.adjusted


class LossSeries(Stateful):
    """The losses of a run, each adjusted for how hard its batch is.

    Most of the noise of a loss is its batch: at small batches a bump of 0.9 nat is data, not training. A
    batch's own unigram cross-entropy, as far as it differs from the mean of all so far, says how hard it is;
    the adjusted loss is the loss less that, as far as the loss follows it: a model that knows its few
    batches by heart no longer does. Where a log holds no unigram cross-entropy, the loss is left as it is;
    at a step that lacks it, the last one known stands in, so that the series has no jump.
    """

    state: ClassVar[tuple[str, ...]] = ("mean", "unigram", "seen", "follows")

    def __init__(self) -> None:
        self._mean = 0.0
        self._unigram = 0.0
        self._seen = 0
        self._follows = _Regression()

    def read(self, record: StepRecord) -> Loss | None:
        """Return the loss; None where the record holds no finite one."""
        loss = cross_entropy(record)
        unigram = record.readings.get(UNIGRAM)
        if unigram is not None and math.isfinite(unigram):
            self._unigram = unigram
            self._seen += 1
            self._mean += (unigram - self._mean) / self._seen
        if not math.isfinite(loss):
            return None
        if not self._seen:
            return Loss(loss, loss)
        adjusted = loss - self._follows.slope * (self._unigram - self._mean)
        self._follows.push(self._unigram, loss)
        return Loss(loss, adjusted)


@dataclasses.dataclass(slots=True)
class _Regression:
    """By how much one series moves when another moves by 1, over about the last ``MEMORY`` steps.

    Of differences from one step to the next, so that what both drift by is no matter. A jump of the second
    counts for no more than ``JUMP`` times the first's, or the usual one of it.
    """

    MEMORY: ClassVar[int] = 64
    FEWEST: ClassVar[int] = 16
    JUMP: ClassVar[float] = 3.0

    x: float = math.nan
    y: float = math.nan
    variance: float = 0.0
    covariance: float = 0.0
    n: int = 0

    @property
    def slope(self) -> float:
        """The slope, from 0 to 1; 1 while little is known."""
        if self.n < self.FEWEST or not self.variance:
            return 1.0
        return min(1.0, max(0.0, self.covariance / self.variance))

    def push(self, x: float, y: float) -> None:
        """Take the next values of both."""
        dx, dy = x - self.x, y - self.y
        self.x, self.y = x, y
        if not math.isfinite(dx):
            return
        self.n += 1
        weight = 1 / min(self.n, self.MEMORY)
        self.variance += weight * (dx * dx - self.variance)
        most = self.JUMP * max(abs(dx), math.sqrt(self.variance))
        self.covariance += weight * (dx * max(-most, min(dy, most)) - self.covariance)
