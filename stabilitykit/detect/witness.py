"""What the gradient norm says of a loss that stands high for one step."""

import math
from typing import Any

from stabilitykit.detect.gradient_spike import GRADIENT_NORM
from stabilitykit.detect.rolling import Window
from stabilitykit.records import StepRecord


class GradientWitness:
    """Tells a hard batch from an instability by the gradient norm of the same step.

    A batch of a rarer kind has a high loss on weights that are as good as ever; its gradient is larger too,
    but seldom beyond what gradients of this run are. Weights that have become bad show in the gradient at
    once, or in the loss of the next batch. Norms are compared as logarithms, since they scatter by factors.
    """

    WINDOW, ARMED = 32, 8
    SIGMAS = 4.0
    """Noise widths of the log norm (1.4826 MAD) above its median up to which it is ordinary.

    Of 57 single high losses of healthy runs (``benchmarks/healthy_zoo.py``) 42 stand within 2.5 and two
    further out than 4; the spikes of public runs that were looked at begin at 4.6.
    """

    def __init__(self) -> None:
        self._past = Window(self.WINDOW)
        self.is_ordinary = False
        """Whether the gradient norm of the record read last is known to be an ordinary one."""

    def read(self, record: StepRecord) -> None:
        """Take a record; one without a gradient norm says nothing."""
        norm = record.readings.get(GRADIENT_NORM, math.nan)
        if not (math.isfinite(norm) and norm > 0):
            self.is_ordinary = False
            return
        log = math.log(norm)
        known = len(self._past) >= self.ARMED and not self._is_at_cap(log)
        rise = log - self._past.median() if known else math.inf
        self.is_ordinary = rise <= self.SIGMAS * self._past.sigma()
        self._past.push(log)

    def _is_at_cap(self, log: float) -> bool:
        """Return whether a norm is the largest of several equal ones, as what is logged after clipping is."""
        largest = max(self._past.values)
        return log >= largest and self._past.values.count(largest) > 1

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {"past": list(self._past.values)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self._past.load(state["past"])
