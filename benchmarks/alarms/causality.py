"""A series must not know the future: what it said of a run's first steps may not change with later ones."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray


class Cut(Protocol):
    """A run that can be had as it was earlier."""

    def until(self, n: int) -> Self:
        """Return it as it was after its first ``n`` steps."""
        ...


R = TypeVar("R", bound=Cut)


def looks_ahead(series: Callable[[R], NDArray[Any]], run: R, cuts: Iterable[int]) -> int | None:
    """Return the first step at which a series differs once the run is cut short, or None where it is causal.

    Args:
        series: One number a step of the run it is given.
        run: A run.
        cuts: After how many steps to cut it; at each, all that was said until then must be the same.
    """
    whole = np.asarray(series(run))
    for n in sorted(cuts):
        part = np.asarray(series(run.until(n)))
        if len(part) != n:
            return min(len(part), n)
        same = (part == whole[:n]) | (np.isnan(part) & np.isnan(whole[:n]))
        if not same.all():
            return int(np.flatnonzero(~same)[0])
    return None
