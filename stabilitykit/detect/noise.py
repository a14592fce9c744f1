"""How much a series scatters about its own recent level."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.rolling import Window


_QUARTER, _TWENTIETH = 0.6745, 1.6449
"""Quantiles 3/4 and 19/20 of a normal law."""


class Noise:
    """The width of the differences between values and the level before them, robust against outliers.

    Widths are 1.4826 MAD, about the median, so that a steady fall is not taken for noise. 256 differences
    say it to a few per cent, but a schedule changes the noise faster than that: so they count only as far as
    they agree with the last 64. Worked out when it is asked for, which is rare.

    Args:
        sigmas: Noise widths that make a limit.
    """

    SHORT, LONG = 64, 256
    AGREE = 1.2
    """Ratio to the short window's width within which the long one counts."""
    FEW = 3.0
    """Limits from n differences are widened by the factor 1 + FEW / n while n is below ``SHORT``."""

    TAILED = 16
    """Differences from which on tails are known."""
    ONE_SIDED = 2.0
    """Upper tail over the lower one from which on the noise is one-sided."""
    WHITE = 2.5
    """Standard errors of the correlation of neighbours within which differences are independent."""
    STEEPEST = 1.5
    """Most by which the limit is further out for a tail that grows outwards."""

    def __init__(self, sigmas: float) -> None:
        self._sigmas = sigmas
        self._differences = Window(self.LONG)

    def __len__(self) -> int:
        return len(self._differences)

    def push(self, difference: float) -> None:
        """Let in the difference of an ordinary value to the level before it."""
        self._differences.push(difference)

    def limit(self) -> float:
        """Return the difference that noise does not explain; NaN before any is known."""
        width = self._differences.sigma(self.SHORT)
        n = len(self._differences)
        if n < self.SHORT:
            return self._sigmas * width * self._widening(n) if n else math.nan
        return self._sigmas * min(max(self._differences.sigma(), width / self.AGREE), width * self.AGREE)

    def tail(self) -> float:
        """Return how much further noise reaches upwards than its width says, 1 where it is no further.

        The loss of a batch is one-sided where few samples make most of it (noise levels of a diffusion model,
        pairs of a contrastive one, lengths, a rarer task): a median and a MAD see nothing of its tail.
        The upper tail is that of batches, and no trace of instability, where it is ``ONE_SIDED`` times as
        long as the lower one, and one difference says nothing of the next. The limit follows its upper
        twentieth, and the more the longer that is beside the upper quarter, as tails go on as they began.
        """
        return self._tail(self._differences)

    def _tail(self, differences: Window) -> float:
        values = np.array(differences.values)
        n = len(values)
        if n < self.TAILED or _rank_correlation(values) > self.WHITE / math.sqrt(n):
            return 1.0
        center = float(np.median(values))
        low, quarter, top = (float(x) - center for x in np.quantile(values, (0.05, 0.75, 0.95), method="higher"))
        width = differences.sigma()
        if top <= max(_TWENTIETH * width, -self.ONE_SIDED * low) or quarter <= 0:
            return 1.0
        beyond = (top / quarter) / (_TWENTIETH / _QUARTER)
        return top / (_TWENTIETH * width) * min(max(1.0, math.sqrt(beyond)), self.STEEPEST)

    def _widening(self, n: int) -> float:
        """Return how much wider a limit from ``n`` differences is."""
        return 1 + self.FEW / n if n < self.SHORT else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {"differences": list(self._differences.values)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self._differences.load(state["differences"])


class LossNoise(Noise):
    """Noise that knows of a loss falling through decades.

    On a smooth curve towards zero the noise is in proportion to the level, and older differences say nothing
    of it: where the relative width is small, it counts instead, if it is the smaller one.
    """

    SMOOTH = 2.0
    """Largest limit, as a share of the level, up to which noise is taken to follow the level."""

    def __init__(self, sigmas: float) -> None:
        super().__init__(sigmas)
        self._relative = Window(self.SHORT)
        self._positive = True
        """Whether all levels were above zero; noise is in proportion only to what has a natural zero."""

    def push_at(self, difference: float, level: float) -> None:
        """Let in the difference of an ordinary loss to the level before it."""
        self.push(difference)
        self._positive = self._positive and level > 0
        if self._positive:
            self._relative.push(difference / level)

    def limit_at(self, level: float) -> float:
        """Return the rise above a level that noise does not explain; NaN before any is known."""
        limit = self.limit()
        n = len(self._relative)
        if not (self._positive and n and level > 0):
            return limit
        relative = self._sigmas * self._relative.sigma()
        return min(limit, relative * self._widening(n) * level) if relative <= self.SMOOTH else limit

    def tail(self) -> float:
        """Return how much further noise reaches upwards than its width says, of both ways of looking."""
        return max(super().tail(), self._tail(self._relative)) if self._positive else super().tail()

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        mine = {"relative": list(self._relative.values), "positive": self._positive}
        return {**super().state_dict(), **mine}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        super().load_state_dict(state)
        self._relative.load(state["relative"])
        self._positive = state["positive"]


def _rank_correlation(values: NDArray[np.float64]) -> float:
    """Return the correlation between the ranks of neighbours; 0 of fewer than three values."""
    n = len(values)
    ranks = np.empty(n)
    ranks[np.argsort(values, kind="stable")] = np.arange(n) - (n - 1) / 2
    square = float(ranks @ ranks)
    return float(ranks[1:] @ ranks[:-1]) / square if square else 0.0
