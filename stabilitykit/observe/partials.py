"""One buffer on the device that holds every forward partial of a step."""

import weakref
from collections.abc import Callable, Sequence

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


class PartialBuffer:
    """A float32 table of rows × merge rules, written by taps and merged over microbatches.

    Taps write into ``rows`` in place, so a row's address never changes. Before a row is written a second
    time in a step, ``merge`` folds all rows into the step's partials: a few operations whatever their number.
    """

    def __init__(self, n_rows: int, device: torch.device) -> None:
        self.rows = torch.empty(n_rows, len(_NEUTRAL), device=device)
        self._merged = torch.empty_like(self.rows)
        self._neutral = torch.tensor(_NEUTRAL, device=device)
        self.counts = [0] * n_rows
        """Elements behind each row at this step; 0 for a row that was not written."""
        self._has_merged = False
        self._is_written = [False] * n_rows
        self._views = tuple(self.rows)
        self._newest: Callable[[], Tensor | None] = _nothing
        self._newest_row = self._newest_version = 0
        self.reset()

    def reset(self) -> None:
        """Forget the step."""
        self.rows.copy_(self._neutral.expand_as(self.rows))
        self.counts = [0] * len(self.counts)
        self._is_written = [False] * len(self.counts)
        self._has_merged = False
        self._newest = _nothing

    def begin(self, row: int, count: int) -> None:
        """Make a row ready to be written, and count what will stand behind it.

        Where the row is written already, by an earlier microbatch or an earlier call of the same module, that
        is folded away first.

        Args:
            row: The row.
            count: Elements that it will stand for.
        """
        if self._is_written[row]:
            self.merge()
        self._is_written[row] = True
        self.counts[row] += count

    def fold(self, row: int, numbers: Sequence[Tensor | float]) -> None:
        """Merge a row with new partials where it is, without any state on the host.

        Args:
            row: The row.
            numbers: Norm, minimum, maximum and count.
        """
        norm, minimum, maximum, count = numbers
        rows = self.rows
        rows[row, NORM] = torch.hypot(rows[row, NORM], torch.as_tensor(norm, device=rows.device))
        rows[row, MINIMUM] = torch.minimum(rows[row, MINIMUM], torch.as_tensor(minimum, device=rows.device))
        rows[row, MAXIMUM] = torch.maximum(rows[row, MAXIMUM], torch.as_tensor(maximum, device=rows.device))
        rows[row, COUNT] += count

    def remember(self, x: Tensor, row: int) -> None:
        """Note that a row holds the partials of ``x``, without keeping ``x`` alive."""
        self._newest = weakref.ref(x)
        self._newest_row, self._newest_version = row, x._version

    def copy_if_same(self, x: Tensor, row: int) -> bool:
        """Copy the newest row if it is of the very same tensor, and return whether it was.

        On the residual line most sites see the tensor that the site before has just seen.
        """
        if self._newest() is not x or self._newest_version != x._version:
            return False
        self._views[row].copy_(self._views[self._newest_row])
        return True

    def merge(self) -> None:
        """Fold the rows into the step's partials and make them ready for the next microbatch."""
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
        self._is_written = [False] * len(self.counts)
        self._newest = _nothing

    def partials(self) -> Tensor:
        """Return the step's partials, still on the device."""
        if not self._has_merged:
            return self.rows
        self.merge()
        return self._merged


def pack(tensors: Sequence[Tensor]) -> Tensor:
    """Return all numbers of some tensors as one float32 vector, for one host read."""
    return torch.cat([t.detach().flatten().float() for t in tensors])
