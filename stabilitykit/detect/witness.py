"""The gradient norm as a witness: whether a step was out of the ordinary in more than its loss."""

import math
from typing import Any

from stabilitykit.detect.gradient_spike import GRADIENT_NORM
from stabilitykit.detect.rolling import Window
from stabilitykit.records import StepRecord


class GradientWitness:
    """Remembers the gradient norms of the last steps, and says whether those around a step were ordinary.

    A batch that is hard for what it is has a high loss and about the gradient of any other: the parameters
    are where they were. Where a step has thrown them out of place the surface is steep and the gradient is
    large, and where one gradient has thrown them, it was large a step earlier. Norms scatter by factors, so
    their logarithms are compared. What is no witness stays silent: a norm of another step than the loss's, as
    in logs of every tenth step, whose losses are means; and one that was logged after clipping.
    """

    WINDOW, FEWEST = 32, 16
    SIGMAS = 4.0
    """Widths of the log norm, 1.4826 MAD, above its median up to which it is ordinary."""
    NARROWEST = 0.01
    """Width of the log norm below which it is held in place by something and says nothing."""
    SAME = 0.001
    """Relative difference up to which the two largest norms are what both were clipped at."""

    def __init__(self) -> None:
        self._past = Window(self.WINDOW)
        """Logarithms of the norms of steps in a row before the one at hand; of zero there is none."""
        self._before = math.nan
        self._now = math.nan
        """Logarithms at the step before and the step at hand; NaN where there is none."""
        self._step = -1

    def push(self, record: StepRecord) -> None:
        """Take the record of the step at hand."""
        norm = record.readings.get(GRADIENT_NORM)
        if record.step != self._step + 1 or norm is None:
            self._past.values.clear()
            self._now = math.nan
        elif math.isfinite(self._now):
            self._past.push(self._now)
        self._before, self._now = self._now, math.nan if norm is None else _log(norm)
        self._step = record.step

    def is_calm(self) -> bool:
        """Return whether the norms of this step and the one before are known and ordinary."""
        if len(self._past) < self.FEWEST or self._is_clipped():
            return False
        width = self._past.sigma()
        most = self._past.median() + self.SIGMAS * width
        # Written so that NaN is not ordinary.
        return width >= self.NARROWEST and self._before <= most and self._now <= most

    def _is_clipped(self) -> bool:
        """Return whether the norm is as large as any, and others are just as large."""
        largest = max(self._past.values) <= self._now + self.SAME
        return largest and any(abs(log - self._now) <= self.SAME for log in self._past.values)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        last = [self._before, self._now]
        return {"past": list(self._past.values), "last": last, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self._past.load(state["past"])
        self._before, self._now = state["last"]
        self._step = state["step"]


def _log(norm: float) -> float:
    """Return the logarithm of a norm, which may be zero; NaN of what is none."""
    return math.log(norm) if norm > 0 else (-math.inf if norm == 0 else math.nan)
