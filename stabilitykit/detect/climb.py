"""A smoothed series that stands above its best so far, and for how long."""

import math
from bisect import bisect_left, insort
from collections.abc import Callable
from typing import ClassVar

from stabilitykit.detect.rolling import Window
from stabilitykit.detect.state import Stateful


class Climb(Stateful):
    """Counts for how many records the median of the last ``smooth`` values has stood far above its best.

    A climb begins when the rise exceeds the limit, and ends when it is back within half of that.

    Args:
        smooth: Values that the median is taken of, an odd number.
    """

    state: ClassVar[tuple[str, ...]] = ("recent", "best", "smoothed", "since", "length")

    def __init__(self, smooth: int) -> None:
        self._recent = Window(smooth)
        self._ordered: list[float] = []
        """The same values by size, kept so from step to step."""
        self.best = math.inf
        """The lowest median so far."""
        self.smoothed = math.nan
        """The median now; NaN until the window is full."""
        self.since: int | None = None
        """Step at which the present climb began, if there is one."""
        self.length = 0
        """Records that it has lasted."""

    def restored(self) -> None:
        """Sort the values that were taken up."""
        self._ordered = sorted(self._recent.values)

    def push(self, value: float) -> None:
        """Let the next value in."""
        if self._recent.full:
            del self._ordered[bisect_left(self._ordered, self._recent.values[0])]
        self._recent.push(value)
        insort(self._ordered, value)
        if self._recent.full:
            self.smoothed = self._ordered[len(self._ordered) // 2]
            if self.smoothed < self.best:
                self.best = self.smoothed

    @property
    def rise(self) -> float:
        """How far the median stands above its best; NaN until the window is full."""
        return self.smoothed - self.best

    def judge(self, step: int, least: float, noise: Callable[[], float]) -> None:
        """Say how far is far at this step.

        Args:
            step: The step.
            least: Least limit.
            noise: Returns another one; asked only where the rise exceeds the first.
        """
        share = 0.5 if self.length else 1.0
        if not (self.rise > share * least and self.rise > share * noise()):
            self.since, self.length = None, 0
            return
        self.since = step if self.since is None else self.since
        self.length += 1
