"""A run's final and best loss, from means over blocks of steps: what is kept does not grow with the run."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class LossSummary:
    """A run's losses in two numbers, in nats."""

    final: float
    """Mean of the last 5 % of the steps."""
    best: float
    """Lowest mean over as many steps in a row."""


class LossMeans:
    """The losses of a run, summed in at most ``BLOCKS`` blocks of equally many steps.

    Up to ``BLOCKS`` steps a block is one step and both numbers are exact. Whenever all blocks are full, two
    neighbours become one; the 5 % are then taken in whole blocks, of at most a thousandth of the run.
    """

    BLOCKS = 2048

    def __init__(self, losses: Iterable[float] = ()) -> None:
        self._size = 1
        """Steps in a block."""
        self._sums: list[float] = []
        self._last, self._in_last = 0.0, 0
        """Sum of the block that is not full yet, and the steps in it."""
        for loss in losses:
            self.push(loss)

    def push(self, loss: float) -> None:
        """Take the loss of the next step; NaN where there is none."""
        self._last += loss
        self._in_last += 1
        if self._in_last < self._size:
            return
        self._sums.append(self._last)
        self._last, self._in_last = 0.0, 0
        if len(self._sums) == self.BLOCKS:
            self._sums = [one + other for one, other in zip(self._sums[::2], self._sums[1::2], strict=True)]
            self._size *= 2

    def summary(self) -> LossSummary:
        """Return the final and the best loss; NaN where there is none."""
        steps = len(self._sums) * self._size + self._in_last
        if not steps:
            return LossSummary(math.nan, math.nan)
        sums = np.array(self._sums, dtype=np.float64)
        width = max(1, steps // 20 // self._size)
        means = np.where(np.isfinite(sums), sums, np.inf) / self._size
        lowest = np.convolve(means, np.full(width, 1 / width), "valid") if len(means) >= width else means
        best = float(lowest.min(initial=math.inf))
        final = (sums[-width:].sum() + self._last) / (sums[-width:].size * self._size + self._in_last)
        return LossSummary(float(final), best if math.isfinite(best) else math.nan)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {"size": self._size, "sums": list(self._sums), "last": [self._last, self._in_last]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        size, sums = int(state["size"]), [float(total) for total in state["sums"]]
        last, in_last = state["last"]
        self._last, self._in_last = float(last), int(in_last)
        self._size, self._sums = size, sums
