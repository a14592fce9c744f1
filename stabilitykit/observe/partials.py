"""One buffer on the device that holds every forward partial of a step."""

import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

NORM, MINIMUM, MAXIMUM, BOUND, SUM, COUNT = range(6)
"""Columns of the buffer, one a merge rule: root of summed squares, min, max, max, sum, sum.

Elements are counted on the host, but for graphs that were compiled: those count in the last column.
"""

COLUMNS = 6

_NEUTRAL = (0.0, float("inf"), float("-inf"), float("-inf"), 0.0, 0.0)


def _nothing() -> None:
    """Stand in for a reference to a tensor."""


class Late(Protocol):
    """Something that writes its rows only when they are about to be read."""

    def flush(self) -> None:
        """Write every row that is due."""

    def forget(self) -> None:
        """Drop what is not written yet."""


class PartialBuffer:
    """A float32 table of rows × merge rules, written by taps and merged over microbatches.

    Taps write into ``rows`` in place, so a row's address never changes. Before a row is written a second
    time in a step, ``merge`` folds all rows into the step's partials: a few operations whatever their number.
    """

    def __init__(self, n_rows: int, device: torch.device) -> None:
        self.rows = torch.empty(n_rows, len(_NEUTRAL), device=device)
        self._merged = torch.empty_like(self.rows)
        self._neutral = torch.tensor(_NEUTRAL, device=device)
        self.counts: list[float] = [0] * n_rows
        """Elements behind each row since the last merge; after ``partials``, at this step. 0: not written."""
        self._merged_counts: list[float] = [0] * n_rows
        self.late: list[Late] = []
        """Whoever writes late; asked before anything is merged or read."""
        self._has_merged = False
        self._spoiled: set[int] = set()
        self._marked: tuple[Tensor, list[float]] | None = None
        self._views = tuple(self.rows)
        self._newest: Callable[[], Tensor | None] = _nothing
        self._newest_row = self._newest_version = 0
        self.reset()

    def reset(self) -> None:
        """Forget the step."""
        for late in self.late:
            late.forget()
        self.rows.copy_(self._neutral.expand_as(self.rows))
        self.counts = [0] * len(self.counts)
        self._merged_counts = [0] * len(self.counts)
        self._has_merged = False
        self._spoiled.clear()
        self._marked = None
        self._newest = _nothing

    def spoil(self, row: int) -> None:
        """Leave a row out of this step: what was written into it is not whole."""
        self._spoiled.add(row)

    def mark(self) -> None:
        """Remember the step's partials as they are now, for ``rewind``."""
        self.merge()
        self._marked = self._merged.clone(), list(self._merged_counts)

    def rewind(self) -> None:
        """Forget what was written since ``mark``; nothing where there was none."""
        if self._marked is None:
            return
        for late in self.late:
            late.forget()
        merged, counts = self._marked
        self._merged.copy_(merged)
        self._merged_counts, self.counts = list(counts), [0] * len(counts)
        self.rows.copy_(self._neutral.expand_as(self.rows))
        self._newest, self._marked = _nothing, None

    def begin(self, row: int, count: int) -> None:
        """Make a row ready to be written, and count what will stand behind it.

        Where the row is written already, by an earlier microbatch or an earlier call of the same module, that
        is folded away first.

        Args:
            row: The row.
            count: Elements that it will stand for.
        """
        if self.counts[row]:
            self.merge()
        self.counts[row] = count

    @torch.no_grad()
    def write(self, row: int, norm: Tensor, minimum: Tensor, maximum: Tensor, count: int) -> None:
        """Write a row from partials that were taken elsewhere.

        Args:
            row: The row.
            norm: 2-norm.
            minimum: Smallest element.
            maximum: Largest element.
            count: Elements.
        """
        self.begin(row, count)
        for column, number in ((NORM, norm), (MINIMUM, minimum), (MAXIMUM, maximum)):
            self.rows[row, column] = number

    def fold(self, row: int, norm: Tensor, minimum: Tensor, maximum: Tensor, count: int) -> None:
        """Merge a row with new partials where it is, without any state on the host.

        Args:
            row: The row.
            norm: 2-norm.
            minimum: Smallest element.
            maximum: Largest element.
            count: Elements.
        """
        rows = self.rows
        rows[row, NORM] = torch.hypot(rows[row, NORM], norm)
        rows[row, MINIMUM] = torch.minimum(rows[row, MINIMUM], minimum)
        rows[row, MAXIMUM] = torch.maximum(rows[row, MAXIMUM], maximum)
        rows[row, COUNT] += count

    def remember(self, x: Tensor, row: int) -> None:
        """Note that a row holds the partials of ``x``, without keeping ``x`` alive."""
        self._newest = weakref.ref(x)
        self._newest_row, self._newest_version = row, x._version

    def copy_if_same(self, x: Tensor, row: int) -> bool:
        """Copy the newest row if it is of the very same tensor, and return whether it was.

        On the residual stream most sites see the tensor that the site before has just seen.
        """
        if self._newest() is not x or self._newest_version != x._version:
            return False
        self._views[row].copy_(self._views[self._newest_row])
        return True

    def merge(self) -> None:
        """Fold the rows into the step's partials and make them ready for the next microbatch."""
        self._flush()
        self._merged_counts = [a + b for a, b in zip(self._merged_counts, self.counts, strict=True)]
        self.counts = [0] * len(self.counts)
        if self._has_merged:
            merged, rows = self._merged, self.rows
            merged[:, NORM] = torch.hypot(merged[:, NORM], rows[:, NORM])
            merged[:, MINIMUM] = torch.minimum(merged[:, MINIMUM], rows[:, MINIMUM])
            merged[:, MAXIMUM : BOUND + 1] = torch.maximum(
                merged[:, MAXIMUM : BOUND + 1], rows[:, MAXIMUM : BOUND + 1]
            )
            merged[:, SUM:] += rows[:, SUM:]
        else:
            self._merged.copy_(self.rows)
            self._has_merged = True
        self.rows.copy_(self._neutral.expand_as(self.rows))
        self._newest = _nothing

    def partials(self) -> Tensor:
        """Return the step's partials, still on the device."""
        self._flush()
        partials = self.rows
        if self._has_merged:
            self.merge()
            self.counts = self._merged_counts
            partials = self._merged
        for row in self._spoiled:
            self.counts[row] = 0
        return partials

    def _flush(self) -> None:
        for late in self.late:
            late.flush()


def pack(tensors: Sequence[Tensor]) -> Tensor:
    """Return all numbers of some tensors as one float32 vector, for one host read."""
    return torch.cat([t.detach().flatten().float() for t in tensors])
