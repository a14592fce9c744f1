"""The loss series that all loss detectors look at."""

import math

from stabilitykit.records import StepRecord

LOSS = "train/loss"
UNIGRAM = "train/unigram_cross_entropy"


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
        loss = record.readings.get(LOSS, math.nan)
        return (loss, loss - self.unigram) if math.isfinite(loss) else None
