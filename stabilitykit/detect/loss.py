"""The loss series that all loss detectors look at."""

import math

from stabilitykit.records import StepRecord

LOSS = "train/loss"
UNIGRAM = "train/unigram_cross_entropy"
CROSS_ENTROPY = "train/cross_entropy"


def cross_entropy(record: StepRecord) -> float:
    """Return the cross-entropy, or the loss where nothing is added to it; NaN where neither is recorded.

    A z-loss is part of the loss and not of what the unigram law is compared with.
    """
    return record.readings.get(CROSS_ENTROPY, record.readings.get(LOSS, math.nan))


class LossSeries:
    """The losses of a run, each beside its difference to the batch's own unigram cross-entropy.

    Most of the noise of a loss is its batch: at small batches a bump of 0.9 nat is data, not training.
    The difference takes that part out. Where a log holds no unigram cross-entropy, the difference is the
    loss itself; at a step that lacks it, the last one known stands in, so that the series has no jump.
    """

    def __init__(self) -> None:
        self.unigram = 0.0
        """The last unigram cross-entropy that was a number."""

    def read(self, record: StepRecord) -> tuple[float, float] | None:
        """Return the loss and the difference, in nats; None where the record holds no finite loss."""
        unigram = record.readings.get(UNIGRAM, math.nan)
        if math.isfinite(unigram):
            self.unigram = unigram
        loss = cross_entropy(record)
        return (loss, loss - self.unigram) if math.isfinite(loss) else None
