"""A loss parked at what the unigram law alone would give."""

import math
from typing import Any, ClassVar

from stabilitykit.detect.detector import Detector
from stabilitykit.detect.loss import LOSS, UNIGRAM
from stabilitykit.detect.rolling import Window, median
from stabilitykit.records import Finding, Severity, StepRecord


class Stuck(Detector):
    """Flags a loss that has not left the batch's own unigram cross-entropy, and makes no progress.

    A model whose lower layers have stopped learning still learns the frequencies of its tokens: its loss
    parks at the unigram cross-entropy, without a spike. Needs ``train/unigram_cross_entropy``.

    Args:
        steps: Records for which the smoothed difference must stay.
        margin: Difference in nats; a run that is more than this below the unigram law has learned more.
        progress: Least fall in nats, from the first to the second half of the window, that counts as
            learning.
    """

    kind: ClassVar[str] = "stuck"
    quiet: ClassVar[int] = 1

    SMOOTH = 7

    def __init__(self, steps: int = 40, margin: float = 0.1, progress: float = 0.05) -> None:
        self._steps, self._margin, self._progress = steps, margin, progress
        self._recent = Window(self.SMOOTH)
        self._smooth = Window(steps)
        self._since: int | None = None
        self._flagged = False

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding while the loss is parked."""
        readings = record.readings
        if LOSS not in readings or UNIGRAM not in readings:
            return []
        excess = readings[LOSS] - readings[UNIGRAM]
        if not math.isfinite(excess):
            return []
        self._recent.push(excess)
        smooth = self._recent.median()
        self._smooth.push(smooth)
        # Leaving takes more than entering, so that noise does not cut one incident into many.
        if smooth < -self._margin * (1.5 if self._flagged else 1.0):
            self._since, self._flagged = None, False
            self._smooth.values.clear()
            return []
        self._since = record.step if self._since is None else self._since
        self._flagged = self._is_parked()
        if not self._flagged:
            return []
        message = (
            f"loss {readings[LOSS]:.4g} is parked {smooth:+.2g} nat from the batch's unigram cross-entropy "
            f"({readings[UNIGRAM]:.4g}) since step {self._since}: nothing but token frequencies is learned"
        )
        limit = readings[UNIGRAM] - self._margin
        return [
            Finding(
                self.kind,
                LOSS,
                record.step,
                self._since,
                readings[LOSS],
                limit,
                Severity.WARNING,
                message,
            )
        ]

    def _is_parked(self) -> bool:
        if len(self._smooth) < self._steps:
            return False
        half = self._steps // 2
        fall = median(self._smooth.last(self._steps)[:half]) - median(self._smooth.last(half))
        return fall < self._progress * (4.0 if self._flagged else 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {
            "recent": list(self._recent.values),
            "smooth": list(self._smooth.values),
            "since": self._since,
            "flagged": self._flagged,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        for window, name in ((self._recent, "recent"), (self._smooth, "smooth")):
            window.values.clear()
            window.values.extend(state[name])
        self._since, self._flagged = state["since"], state["flagged"]
