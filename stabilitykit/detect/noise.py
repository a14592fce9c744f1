"""How much a series scatters about its own recent level."""

import math
from typing import ClassVar

from stabilitykit.detect.rolling import Window
from stabilitykit.detect.state import Stateful
from stabilitykit.detect.tail import tail


class Noise(Stateful):
    """The width of the differences between values and the level before them, robust against outliers.

    Widths are 1.4826 MAD, about the median, so that a steady fall is not taken for noise. 256 differences
    say it to a few per cent, but a schedule changes the noise faster than that: so they count only as far as
    they agree with the last 64. Worked out when it is asked for, which is rare.

    Args:
        sigmas: Noise widths that make a limit.
    """

    state: ClassVar[tuple[str, ...]] = ("differences",)
    SHORT, LONG = 64, 256
    AGREE = 1.2
    """Ratio to the short window's width within which the long one counts."""
    FEW = 3.0
    """Limits from n differences are widened by the factor 1 + FEW / n while n is below ``SHORT``."""

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

    def _widening(self, n: int) -> float:
        """Return how much wider a limit from ``n`` differences is."""
        return 1 + self.FEW / n if n < self.SHORT else 1.0


class LossNoise(Noise):
    """Noise that knows of a loss falling through decades.

    On a smooth curve towards zero the noise is in proportion to the level, and older differences say nothing
    of it: where the relative width is small, it counts instead, if it is the smaller one.
    """

    state: ClassVar[tuple[str, ...]] = ("relative", "positive")
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
        return min(limit, self._proportional(level)) if self._is_smooth(level) else limit

    def tail_at(self, level: float) -> float:
        """Return how much further noise reaches upwards than ``limit_at`` says, 1 where it is no further."""
        in_proportion = self._is_smooth(level) and self._proportional(level) < self.limit()
        return tail(self._relative if in_proportion else self._differences)

    def _is_smooth(self, level: float) -> bool:
        known = self._positive and len(self._relative) and level > 0
        return bool(known) and self._proportional(1.0) / self._widening(len(self._relative)) <= self.SMOOTH

    def _proportional(self, level: float) -> float:
        return self._sigmas * self._relative.sigma() * self._widening(len(self._relative)) * level
