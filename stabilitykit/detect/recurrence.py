"""Single high values that keep coming back: no event, but a part of what the series is."""

from collections import deque
from typing import ClassVar

from stabilitykit.detect.state import Stateful


class Recurrence(Stateful):
    """Remembers single high values, and says how high the next one may be.

    A batch of a rarer, harder task stands far above the others, and the next one is ordinary again. The first
    of them looks like a spike in every respect; the fourth within a short time does not, where all stand
    alike above the others, or alike at a level of their own. Heights that last for two values or more are no
    batch's and are not remembered.
    """

    state: ClassVar[tuple[str, ...]] = ("bumps", "last")
    MANY, WITHIN = 3, 64
    """So many within so many values are a habit."""
    ALIKE = 1.5
    """Heights that differ by no more than this factor are of one kind; unstable runs spike as they like."""

    def __init__(self) -> None:
        self._bumps: deque[tuple[int, float, float]] = deque(maxlen=self.MANY)
        """Places, heights and values of the last single ones."""
        self._last = -2
        """Place of the last high value, single or not."""

    def limit(self, place: int, base: float) -> float:
        """Return the height that is usual at a place; 0 where high values are rare, or of all heights.

        Args:
            place: How many values came before it.
            base: What it stands above.
        """
        if len(self._bumps) < self.MANY or place - self._bumps[0][0] > self.WITHIN:
            return 0.0
        _, heights, values = zip(*self._bumps, strict=True)
        room = (self.ALIKE - 1) * min(heights)
        usual = 0.0
        if max(heights) - min(heights) <= room:
            usual = self.ALIKE * max(heights)
        # What is not learned keeps its own level while all else falls away below it.
        if max(values) - min(values) <= room:
            usual = max(usual, max(values) + room - base)
        return usual

    def push(self, place: int, height: float, value: float) -> None:
        """Take a high value.

        Args:
            place: How many values came before it.
            height: How far it stands above the others.
            value: The value itself.
        """
        if place > self._last + 1:
            self._bumps.append((place, height, value))
        elif self._bumps and self._bumps[-1][0] == self._last:
            self._bumps.pop()
        self._last = place
