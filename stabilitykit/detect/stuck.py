"""A loss parked at what the unigram distribution alone would give."""

import math
from typing import ClassVar

from stabilitykit.detect.detector import Detector
from stabilitykit.detect.loss import LOSS, UNIGRAM, cross_entropy
from stabilitykit.detect.rolling import Window, median
from stabilitykit.records import Finding, Severity, StepRecord


class Stuck(Detector):
    """Flags a loss that has not left the batch's own unigram cross-entropy, and makes no progress.

    A model whose lower layers have stopped learning still learns the frequencies of its tokens: its loss
    parks at the unigram cross-entropy, without a spike. Needs ``train/unigram_cross_entropy``.

    Args:
        steps: Records for which the smoothed difference must stay.
        margin: Difference in nats; a run that is more than this below the unigram entropy has learned more.
        progress: Least fall in nats, from the first to the second half of the window, that counts as
            learning.
    """

    kind: ClassVar[str] = "stuck"
    statistics: ClassVar[tuple[str, ...]] = (UNIGRAM,)
    quiet: ClassVar[int] = 1

    SMOOTH = 7
    NEAR = 0.3
    """Nats above the unigram distribution from which on a run counts as having come to it."""

    state: ClassVar[tuple[str, ...]] = ("recent", "smooth", "at", "since", "near")

    def __init__(self, steps: int = 40, margin: float = 0.1, progress: float = 0.05) -> None:
        super().__init__(steps=steps, margin=margin, progress=progress)
        self._steps, self._margin, self._progress = steps, margin, progress
        self._recent = Window(self.SMOOTH)
        self._smooth = Window(steps)
        self._at = Window(steps)
        self._since: int | None = None
        self._near: int | None = None

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding while the loss is parked."""
        readings = record.readings
        if LOSS not in readings or UNIGRAM not in readings:
            return []
        loss = cross_entropy(record)
        excess = loss - readings[UNIGRAM]
        if not math.isfinite(excess):
            return []
        self._recent.push(excess)
        smooth = self._recent.median()
        # Leaving takes more than entering, so that noise does not cut one incident into many.
        if smooth < -self._margin * (1.5 if self._since is not None else 1.0):
            self._since = self._near = None
            self._smooth.values.clear()
            self._at.values.clear()
            return []
        self._smooth.push(smooth)
        self._at.push(record.step)
        if smooth > self.NEAR:
            self._near = None
        elif self._near is None:
            self._near = record.step
        if not self._is_parked():
            self._since = None
            return []
        if self._since is None:
            first = int(self._at.values[0])
            self._since = first if self._near is None else max(first, self._near)
        return [self._finding(record.step, loss, readings[UNIGRAM], smooth)]

    def _is_parked(self) -> bool:
        if len(self._smooth) < self._steps:
            return False
        half = self._steps // 2
        fall = median(self._smooth.last(self._steps)[:half]) - median(self._smooth.last(half))
        return fall < self._progress * (4.0 if self._since is not None else 1.0)

    def _finding(self, step: int, loss: float, unigram: float, smooth: float) -> Finding:
        since = step if self._since is None else self._since
        message = (
            f"the loss is parked {abs(smooth):.2g} nat {'above' if smooth > 0 else 'below'} its batches' "
            f"unigram cross-entropy: nothing but token frequencies is learned"
        )
        limit = unigram - self._margin
        return Finding(self.kind, LOSS, step, since, loss, limit, Severity.WARNING, message)
