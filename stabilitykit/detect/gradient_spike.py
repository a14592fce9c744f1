"""A jump of the global gradient norm."""

import math
from typing import ClassVar

from stabilitykit.detect.detector import Detector
from stabilitykit.detect.noise import Noise
from stabilitykit.detect.rolling import Window
from stabilitykit.records import Finding, Severity, StepRecord

GRADIENT_NORM = "optim/grad_norm"


class GradientSpike(Detector):
    """Flags a gradient norm, before clipping, far above the median of the last 32.

    Works on logs, since gradient norms scatter by factors. A flagged value is replaced by the limit before it
    is let into the window, so that a new level is learned in the end. An alarm only where the growth is very
    large; otherwise evidence, since hard batches do the same.

    Args:
        sigmas: How many noise widths of the log norm above its median.
        factor: Least ratio to the median.
        alarm: Ratio to the median from which it is an alarm.
    """

    kind: ClassVar[str] = "gradient_spike"
    statistics: ClassVar[tuple[str, ...]] = (GRADIENT_NORM,)
    quiet: ClassVar[int] = 5

    state: ClassVar[tuple[str, ...]] = ("past", "noise")
    WINDOW, ARMED = 32, 16

    def __init__(self, sigmas: float = 7.0, factor: float = 4.0, alarm: float = 100.0) -> None:
        super().__init__(sigmas=sigmas, factor=factor, alarm=alarm)
        self._factor, self._alarm = math.log(factor), math.log(alarm)
        self._past = Window(self.WINDOW)
        self._noise = Noise(sigmas)

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding where the norm of this step jumps."""
        norm = record.readings.get(GRADIENT_NORM, math.nan)
        # A value that is not a number is an event of its own and no part of any baseline.
        if not (math.isfinite(norm) and norm > 0):
            return []
        log, usual = math.log(norm), self._past.median()
        rise = log - usual if len(self._past) else 0.0
        if rise <= self._factor or len(self._past) < self.ARMED:
            self._admit(log, rise)
            return []
        limit = max(self._factor, self._noise.limit())
        self._admit(min(log, usual + limit), min(rise, limit))
        return [self._finding(record.step, norm, usual, limit)] if rise > limit else []

    def _admit(self, log: float, rise: float) -> None:
        if len(self._past):
            self._noise.push(rise)
        self._past.push(log)

    def _finding(self, step: int, norm: float, usual: float, limit: float) -> Finding:
        level = math.exp(usual)
        message = f"gradient norm {norm:.4g} is {norm / level:.3g} times its usual {level:.3g}"
        severity = Severity.WARNING if math.log(norm) - usual > self._alarm else Severity.INFO
        threshold = math.exp(usual + limit)
        return Finding(self.kind, GRADIENT_NORM, step, step, norm, threshold, severity, message)
