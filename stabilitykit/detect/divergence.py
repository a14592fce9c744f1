"""A loss that climbs away from its best and stays there."""

import math
from typing import Any, ClassVar

from stabilitykit.detect.detector import Detector
from stabilitykit.detect.loss import LossSeries
from stabilitykit.detect.rolling import Window, robust_sigma
from stabilitykit.records import Finding, Severity, StepRecord


class Divergence(Detector):
    """Flags a smoothed loss far above its best so far.

    Smoothed is the median of the last 7 values. Far is the largest of: a share of all that was learned
    (first minus best), 6 noise widths, a share of the best loss. It must hold for 5 records; it ends when
    the smoothed loss is back within half of that.

    Args:
        share: Of the fall from the first smoothed loss to the best.
        sigmas: Noise widths; the noise is 1.4826 MAD of the last 64 differences to the smoothed loss.
        relative: Of the best loss.
    """

    kind: ClassVar[str] = "divergence"
    quiet: ClassVar[int] = 5

    SMOOTH, NOISE, IN_A_ROW = 7, 64, 5

    def __init__(self, share: float = 0.15, sigmas: float = 6.0, relative: float = 0.08) -> None:
        super().__init__(share=share, sigmas=sigmas, relative=relative)
        self._share, self._sigmas, self._relative = share, sigmas, relative
        self._losses = LossSeries()
        self._recent = Window(self.SMOOTH)
        self._residuals = Window(self.NOISE)
        self._first = math.nan
        self._best = math.inf
        self._best_loss = math.nan
        self._since: int | None = None
        self._run = 0

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding while the smoothed loss stands far above its best."""
        both = self._losses.read(record)
        if both is None:
            return []
        loss, excess = both
        if len(self._recent) == self.SMOOTH:
            self._residuals.push(excess - self._recent.median())
        self._recent.push(excess)
        if len(self._recent) < self.SMOOTH:
            return []
        smooth = self._recent.median()
        threshold = self._threshold()
        if smooth < self._best:
            self._best, self._best_loss = smooth, loss - excess + smooth
            self._first = smooth if math.isnan(self._first) else self._first
        rise = smooth - self._best
        limit = 0.5 * threshold if self._run >= self.IN_A_ROW else threshold
        if rise <= limit:
            self._run, self._since = 0, None
            return []
        self._run += 1
        self._since = record.step if self._since is None else self._since
        return self._finding(record.step, loss - excess, smooth, rise, threshold)

    def _threshold(self) -> float:
        """Return the rise above the best that counts as divergence, in nats."""
        if not math.isfinite(self._best):
            return math.inf
        learned = self._share * (self._first - self._best)
        return max(
            learned,
            self._sigmas * robust_sigma(self._residuals.values),
            self._relative * abs(self._best_loss),
        )

    def _finding(
        self, step: int, shift: float, smooth: float, rise: float, threshold: float
    ) -> list[Finding]:
        if self._run < self.IN_A_ROW or self._since is None:
            return []
        message = (
            f"smoothed loss {shift + smooth:.4g} has stood {rise:.3g} above its best for {self._run} steps; "
            f"{threshold:.3g} is the limit"
        )
        severity = Severity.CRITICAL if rise > 2 * threshold else Severity.WARNING
        limit = shift + self._best + threshold
        return [Finding(self.kind, "train/loss", step, self._since, shift + smooth, limit, severity, message)]

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {
            "unigram": self._losses.unigram,
            "recent": list(self._recent.values),
            "residuals": list(self._residuals.values),
            "first": self._first,
            "best": self._best,
            "best_loss": self._best_loss,
            "since": self._since,
            "run": self._run,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        for window, name in ((self._recent, "recent"), (self._residuals, "residuals")):
            window.values.clear()
            window.values.extend(state[name])
        self._losses.unigram, self._first, self._best = state["unigram"], state["first"], state["best"]
        self._best_loss, self._since, self._run = state["best_loss"], state["since"], state["run"]
