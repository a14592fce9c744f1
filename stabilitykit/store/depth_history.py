"""What a depth × step picture is drawn from: one row a site, bounded in memory however long the run."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

COLUMNS = 512

# Lower than every reading: the largest of a span is the reading wherever there is one.
_UNREAD = np.float32(-np.inf)


class DepthHistory:
    """The largest value of each site in equal spans of steps; a NaN in a span stays NaN.

    When 512 spans are full, two become one: a run of any length fits, and no spike is lost by it.

    Args:
        first_step: Where the first span begins.
        span: Steps in a span at first.
    """

    def __init__(self, first_step: int, span: int) -> None:
        self.first_step = first_step
        self.span = span
        """Steps in a span now."""
        self.sites: list[str] = []
        """The rows, in the order in which they turned up."""
        self._used = 0
        self._cells: NDArray[np.float32] = np.empty((0, COLUMNS), np.float32)

    def rows(self, sites: Sequence[str]) -> NDArray[np.intp]:
        """Return the rows of some sites, adding those that are new."""
        new = [site for site in sites if site not in self.sites]
        if new:
            self.sites += new
            self._cells = np.vstack([self._cells, np.full((len(new), COLUMNS), _UNREAD)])
        return np.array([self.sites.index(site) for site in sites], np.intp)

    def add(self, step: int, rows: Int[np.ndarray, "n"], values: Float[np.ndarray, "n"]) -> None:
        """Take one step's values; steps before ``first_step`` are passed over."""
        column = (step - self.first_step) // self.span
        if column < 0:
            return
        while column >= COLUMNS:
            self._halve()
            column = (step - self.first_step) // self.span
        self._cells[rows, column] = np.maximum(self._cells[rows, column], values)
        self._used = max(self._used, column + 1)

    def table(self) -> tuple[Float[np.ndarray, "sites spans"], Bool[np.ndarray, "sites spans"]]:
        """Return a copy of the values so far, and which of them were never read."""
        values = self._cells[:, : self._used].copy()
        missing = values == _UNREAD
        values[missing] = np.nan
        return values, missing

    @property
    def is_empty(self) -> bool:
        """Whether nothing was taken yet."""
        return self._used == 0

    @property
    def step_range(self) -> tuple[int, int]:
        """The first span's first step, and the step after the last span's."""
        return self.first_step, self.first_step + self._used * self.span

    def _halve(self) -> None:
        merged = np.maximum(self._cells[:, ::2], self._cells[:, 1::2])
        self._cells = np.full_like(self._cells, _UNREAD)
        self._cells[:, : COLUMNS // 2] = merged
        self._used = (self._used + 1) // 2
        self.span *= 2
