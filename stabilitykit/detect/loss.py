"""The loss series that all loss detectors look at."""

from stabilitykit.records import StepRecord

LOSS = "train/loss"
UNIGRAM = "train/unigram_cross_entropy"


def loss_and_excess(record: StepRecord) -> tuple[float, float] | None:
    """Return the loss, and its difference to the batch's own unigram cross-entropy.

    Most of the noise of a loss is its batch: at small batches a bump of 0.9 nat is data, not training.
    The difference takes that part out. Where a log holds no unigram cross-entropy, the difference is the
    loss itself.

    Returns:
        None when the record holds no loss.
    """
    loss = record.readings.get(LOSS)
    if loss is None:
        return None
    return loss, loss - record.readings.get(UNIGRAM, 0.0)
