"""The gradient norm as a witness: whether a step was out of the ordinary in more than its loss."""

import math
from typing import Any

from stabilitykit.detect.gradient_spike import GRADIENT_NORM
from stabilitykit.detect.rolling import MAD_TO_SIGMA, Window, median
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
    """Relative difference up to which two largest norms are the limit that both were clipped at."""

    def __init__(self) -> None:
        self._norms = Window(self.WINDOW + 1)
        """Those of steps in a row; the last is that of the step at hand."""
        self._step = -1

    def push(self, record: StepRecord) -> None:
        """Take the record of the step at hand."""
        norm = record.readings.get(GRADIENT_NORM)
        if record.step != self._step + 1 or norm is None:
            self._norms.values.clear()
        if norm is not None:
            self._norms.push(norm)
        self._step = record.step

    def is_calm(self) -> bool:
        """Return whether the norms of this step and the one before are known and ordinary."""
        *past, now = self._norms.values or [math.nan]
        logs = [log for log in map(_log, past) if math.isfinite(log)]
        if len(logs) < self.FEWEST:
            return False
        usual = median(logs)
        width = MAD_TO_SIGMA * median(abs(log - usual) for log in logs)
        if width < self.NARROWEST or self._is_clipped(now, past):
            return False
        # NaN is not ordinary.
        return all(_log(norm) <= usual + self.SIGMAS * width for norm in (now, past[-1]))

    def _is_clipped(self, now: float, past: list[float]) -> bool:
        """Return whether a norm is as large as any, and others are just as large."""
        largest = max(norm for norm in past if norm < math.inf)
        return now >= (1 - self.SAME) * largest and any(abs(n - now) <= self.SAME * now for n in past)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {"norms": list(self._norms.values), "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self._norms.load(state["norms"])
        self._step = state["step"]


def _log(norm: float) -> float:
    """Return the logarithm of a norm, which may be zero; NaN of what is none."""
    return math.log(norm) if norm > 0 else (-math.inf if norm == 0 else math.nan)
