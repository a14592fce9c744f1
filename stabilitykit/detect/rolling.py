"""Rolling statistics over past values only."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.detector import Row
from stabilitykit.detect.state import Stateful

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def median(values: Iterable[float]) -> float:
    """Return the median of some finite values, NaN of none."""
    return _middle(sorted(values))


def _middle(ordered: Sequence[float]) -> float:
    n = len(ordered)
    if n == 0:
        return math.nan
    return ordered[n // 2] if n % 2 else 0.5 * (ordered[n // 2 - 1] + ordered[n // 2])


class Window(Stateful):
    """The last ``size`` values that were let in."""

    def __init__(self, size: int) -> None:
        self.values: deque[float] = deque(maxlen=size)
        self._size = size

    def __len__(self) -> int:
        return len(self.values)

    @property
    def full(self) -> bool:
        """Whether the next value that comes drives one out."""
        return len(self.values) == self._size

    def push(self, value: float) -> None:
        """Let a value in; the oldest leaves a full window."""
        self.values.append(value)

    def last(self, n: int) -> list[float]:
        """Return the newest ``n`` values, oldest first."""
        return list(self.values)[-n:]

    def median(self) -> float:
        """Return the median of all values held; NaN of none."""
        return median(self.values)

    def sigma(self, newest: int | None = None) -> float:
        """Return 1.4826 times the median absolute deviation from the median; NaN of no values.

        Args:
            newest: Of so many newest values; of all unless given.
        """
        ordered = sorted(self.values if newest is None else self.last(newest))
        center = _middle(ordered)
        # Of ordered values the distances fall and then rise, which takes no time to sort.
        return MAD_TO_SIGMA * _middle(sorted([abs(value - center) for value in ordered]))

    def state_dict(self) -> list[float]:
        """Return the values, oldest first."""
        return list(self.values)

    def load_state_dict(self, state: Iterable[float]) -> None:
        """Hold these values, oldest first, and no others."""
        self.values.clear()
        self.values.extend(state)


class RowWindow(Stateful):
    """The last ``size`` rows of sites, in a ring; widens when sites appear."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring: Row = np.full((size, 0), math.nan)
        self._pushed = 0

    def __len__(self) -> int:
        return min(self._pushed, self._size)

    @property
    def oldest(self) -> Row:
        """The oldest row held; NaN where a site was not there yet."""
        row: Row = self._ring[self._pushed % self._size if self._pushed >= self._size else 0]
        return row

    def push(self, row: Row) -> None:
        """Let a row in; the oldest leaves a full window."""
        self.widen(row.size)
        self._ring[self._pushed % self._size] = row
        self._pushed += 1

    def widen(self, n_sites: int) -> None:
        """Make room for sites that have appeared."""
        missing = n_sites - self._ring.shape[1]
        if missing:
            self._ring = np.pad(self._ring, ((0, 0), (0, missing)), constant_values=math.nan)

    def count(self) -> NDArray[np.intp]:
        """Return how many of the values held are numbers, per site."""
        counts: NDArray[np.intp] = np.count_nonzero(~np.isnan(self._ring[: len(self)]), axis=0)
        return counts

    def median(self) -> Row:
        """Return each site's median over the values that are numbers; NaN where there is none."""
        return _median(self._ring[: len(self)])

    def sigma(self, center: Row) -> Row:
        """Return each site's 1.4826 MAD about ``center``."""
        return MAD_TO_SIGMA * _median(np.abs(self._ring[: len(self)] - center))

    def state_dict(self) -> list[list[float]]:
        """Return the rows as plain lists, oldest first."""
        first = self._pushed % self._size if self._pushed >= self._size else 0
        rows = np.roll(self._ring, -first, axis=0)[: len(self)]
        return [list(map(float, row)) for row in rows]

    def load_state_dict(self, state: list[list[float]]) -> None:
        """Take up rows from plain lists."""
        n_sites = len(state[0]) if state else 0
        self._ring = np.full((self._size, n_sites), math.nan)
        self._ring[: len(state)] = np.array(state).reshape(len(state), n_sites)
        self._pushed = len(state)


class Streak(Stateful):
    """For each site, since which step its condition has held without a break."""

    state: ClassVar[tuple[str, ...]] = ("since", "length")

    def __init__(self) -> None:
        self._since: list[int | None] = []
        self.length: Row = np.zeros(0)

    def update(self, step: int, holds: np.ndarray) -> None:
        """Take the conditions of one step."""
        missing = holds.size - self.length.size
        if missing:
            self.length = np.concatenate([self.length, np.zeros(missing)])
            self._since += [None] * missing
        if not holds.any():
            self.length.fill(0)
            return
        for place in np.flatnonzero(holds & (self.length == 0)):
            self._since[place] = step
        self.length = np.where(holds, self.length + 1, 0)

    def since(self, place: int) -> int:
        """Return the first step of the present stretch at a site whose condition holds."""
        step = self._since[place]
        return -1 if step is None else step


def _median(rows: Row) -> Row:
    """Return each column's median over the values that are numbers; several times faster than nanmedian."""
    ordered = np.sort(rows, axis=0)  # NaN goes last
    n = len(ordered)
    middle: Row = ordered[n // 2] if n % 2 else 0.5 * (ordered[n // 2 - 1] + ordered[n // 2])
    # The largest of a row with NaN is NaN.
    if not math.isnan(np.maximum.reduce(ordered[-1])):
        return middle
    count = n - np.isnan(ordered).sum(axis=0)
    place = np.arange(ordered.shape[1])
    low = ordered[np.maximum((count - 1) // 2, 0), place]
    high = ordered[np.minimum(count // 2, n - 1), place]
    return np.where(count > 0, 0.5 * (low + high), math.nan)
