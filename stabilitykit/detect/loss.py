"""The loss series that all loss detectors look at."""

import math
from typing import NamedTuple

from stabilitykit.records import StepRecord

LOSS = "train/loss"
UNIGRAM = "train/unigram_cross_entropy"
CROSS_ENTROPY = "train/cross_entropy"


def cross_entropy(record: StepRecord) -> float:
    """Return the cross-entropy, or the loss where nothing is added to it; NaN where neither is recorded.

    A z-loss is part of the loss and not of what the unigram law is compared with.
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


class LossSeries:
    """The losses of a run, each adjusted for how hard its batch is.

    Most of the noise of a loss is its batch: at small batches a bump of 0.9 nat is data, not training. A
    batch's difficulty is its own unigram cross-entropy, as far as it differs from the mean of all so far;
    the adjusted loss is the loss less that. Where a log holds no unigram cross-entropy, the loss is left as
    it is; at a step that lacks it, the last one known stands in, so that the series has no jump.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._mean = 0.0
        self._unigram = 0.0

    def read(self, record: StepRecord) -> Loss | None:
        """Return the loss; None where the record holds no finite one."""
        unigram = record.readings.get(UNIGRAM)
        if unigram is not None and math.isfinite(unigram):
            self._unigram = unigram
            self._seen += 1
            self._mean += (unigram - self._mean) / self._seen
        loss = cross_entropy(record)
        return Loss(loss, loss - (self._unigram - self._mean)) if math.isfinite(loss) else None

    def state_dict(self) -> list[float]:
        """Return all state."""
        return [self._seen, self._mean, self._unigram]

    def load_state_dict(self, state: list[float]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self._seen, self._mean, self._unigram = int(state[0]), state[1], state[2]
