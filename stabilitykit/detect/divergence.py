"""A loss that climbs away from its best and stays there."""

import math
from typing import ClassVar

from stabilitykit.detect.climb import Climb
from stabilitykit.detect.detector import Detector
from stabilitykit.detect.loss import CROSS_ENTROPY, LOSS, Loss, LossSeries
from stabilitykit.detect.rolling import Window
from stabilitykit.records import Finding, Severity, StepRecord


class Divergence(Detector):
    """Flags a smoothed loss that stands far above its best so far: very far, or for very long.

    Very far is a median of 7 losses that stands ``far`` of the best above it, for 5 records (in long logs
    for 1 % of the records so far, up to 20: by then it is no spike). Very long is a median of 31 that stands
    ``above`` of its best above it for a fifth of the run so far, and for 60 records at least: a loss that
    swings comes back before. Both rises exceed the noise, and a share of all that was learned, so that
    ripples of a loss near zero are none.

    Args:
        far: Rise that counts at once, as a share of the best loss.
        above: Rise that counts when it lasts, as a share of the best loss.
        sigmas: Least rise in noise widths; the noise is 1.4826 MAD of the last 64 differences to the median
            of the 7 losses before.
        share: Least rise as a share of the fall from the first loss to the best.
    """

    kind: ClassVar[str] = "divergence"
    statistics: ClassVar[tuple[str, ...]] = (LOSS, CROSS_ENTROPY)
    quiet: ClassVar[int] = 5

    state: ClassVar[tuple[str, ...]] = ("losses", "sudden", "slow", "differences", "first", "seen")
    NOISE, ARMED = 64, 8
    SUDDEN, SLOW = 7, 31
    """Losses that the two medians are taken of."""

    def __init__(
        self, far: float = 0.3, above: float = 0.08, sigmas: float = 6.0, share: float = 0.02
    ) -> None:
        super().__init__(far=far, above=above, sigmas=sigmas, share=share)
        self._far, self._above, self._sigmas, self._share = far, above, sigmas, share
        self._losses = LossSeries()
        self._sudden, self._slow = Climb(self.SUDDEN), Climb(self.SLOW)
        self._differences = Window(self.NOISE)
        self._first = math.nan
        self._seen = 0

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding while the smoothed loss stands far above its best."""
        loss = self._losses.read(record)
        if loss is None:
            return []
        self._seen += 1
        self._first = loss.adjusted if math.isnan(self._first) else self._first
        if not math.isnan(self._sudden.smoothed):
            self._differences.push(loss.adjusted - self._sudden.smoothed)
        for climb, share in ((self._sudden, self._far), (self._slow, self._above)):
            climb.push(loss.adjusted)
            climb.judge(record.step, self._least(climb.best, share), self._noise)
        if self._sudden.length >= min(max(5, self._seen // 100), 20):
            return [self._finding(record.step, loss, self._sudden, self._far)]
        if self._slow.length >= max(60, self._seen // 5):
            return [self._finding(record.step, loss, self._slow, self._above)]
        return []

    def _least(self, best: float, share: float) -> float:
        """Return the rise above the best that counts without any noise, in nats."""
        return max(share * abs(best), self._share * (self._first - best))

    def _noise(self) -> float:
        """Return the rise that noise may explain, in nats; Inf while it is not known."""
        known = len(self._differences) >= self.ARMED
        return self._sigmas * self._differences.sigma() if known else math.inf

    def _finding(self, step: int, loss: Loss, climb: Climb, share: float) -> Finding:
        limit = max(self._least(climb.best, share), self._noise())
        smoothed = loss.difficulty + climb.smoothed
        message = (
            f"smoothed loss {smoothed:.4g} has stood {climb.rise:.3g} above its best for {climb.length} "
            f"steps; {limit:.3g} is the limit"
        )
        severity = Severity.CRITICAL if climb.rise > 2 * limit else Severity.WARNING
        since = step if climb.since is None else climb.since
        threshold = loss.difficulty + climb.best + limit
        return Finding(self.kind, LOSS, step, since, smoothed, threshold, severity, message)
