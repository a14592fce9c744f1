"""Calls wait here until there are enough of them: read together, they cost as many operations as one."""

from typing import NamedTuple

import torch
from torch import Tensor

from stabilitykit.observe.attention.seen import Seen, read
from stabilitykit.observe.partials import BOUND, COUNT, MAXIMUM, MINIMUM, SUM, PartialBuffer
from stabilitykit.observe.tap import OnError
from stabilitykit.stats import LogitRows

_LIMIT = 1 << 22
"""Elements held at most: 16 MiB of float32. A call above it is read at once."""


class _Call(NamedTuple):
    row: int
    site: str
    seen: Seen
    version: int
    on_error: OnError
    weight: float


class PendingCalls:
    """The calls of all attention taps on one buffer that have not been read yet.

    Args:
        buffer: Where the readings go.
    """

    def __init__(self, buffer: PartialBuffer) -> None:
        self._buffer = buffer
        self._groups: dict[tuple[object, ...], list[_Call]] = {}
        self._doubtful: list[tuple[int, Tensor]] = []
        self._size = 0

    @classmethod
    def of(cls, buffer: PartialBuffer) -> "PendingCalls":
        """Return the buffer's pending calls; all of its attention taps share them."""
        found = next((late for late in buffer.late if isinstance(late, cls)), None)
        if found is None:
            found = cls(buffer)
            buffer.late.append(found)
        return found

    def add(self, row: int, site: str, seen: Seen, on_error: OnError, weight: float = 1) -> None:
        """Take a call; it is read when the buffer is, or as soon as too much is held.

        Args:
            row: Its row of the buffer.
            site: Its site's name.
            seen: The call.
            on_error: Told the site and the error when reading fails.
            weight: What its entropy counts beside those of other calls.
        """
        if seen.is_doubtful and isinstance(seen.data, LogitRows):
            self._doubtful.append((row, seen.data.largest))
            return
        self._groups.setdefault(seen.key, []).append(_Call(row, site, seen, seen.version, on_error, weight))
        self._size += seen.size
        if self._size > _LIMIT:
            self._read_all()

    def flush(self) -> None:
        """Read every call into its row, and what may be attention into its bound."""
        self._read_all()
        doubtful, self._doubtful = self._doubtful, []
        for row, largest in doubtful:
            bound = self._buffer.rows[row, BOUND]
            torch.maximum(bound, largest, out=bound)

    def _read_all(self) -> None:
        groups, self._groups, self._size = self._groups, {}, 0
        for group in groups.values():
            try:
                self._read(group)
            except Exception:
                # One of them is to blame: the others are read for themselves.
                for call in group:
                    self._read_alone(call)

    def _read_alone(self, call: _Call) -> None:
        try:
            self._read([call])
        except Exception as error:  # Nothing in a monitor may end a training run.
            self._buffer.spoil(call.row)
            call.on_error(call.site, error)

    def _read(self, group: list[_Call]) -> None:
        if any(call.seen.version != call.version for call in group):
            raise RuntimeError("queries or keys were changed in place after the attention call")
        rows, weights = [call.row for call in group], [call.weight for call in group]
        write_readings(self._buffer, rows, [call.seen for call in group], weights)

    def forget(self) -> None:
        """Drop every call unread."""
        self._groups.clear()
        self._doubtful.clear()
        self._size = 0


def write_readings(buffer: PartialBuffer, rows: list[int], calls: list[Seen], weights: list[float]) -> None:
    """Read calls of one key and fold each into its row; a row may come several times.

    Args:
        buffer: Where the readings go.
        rows: The row of each call.
        calls: The calls.
        weights: What each call's entropy counts.
    """
    reading = read(calls)
    entropy = reading.entropy
    # In the order of the buffer's columns: minimum, maximum, bound, sum.
    numbers = torch.stack([entropy.amin(-1), reading.logit_max, reading.logit_bound, entropy.mean(-1)], 1)
    for number, weight in zip(numbers, weights, strict=True):
        if weight != 1:
            number[-1] *= weight
    if torch.compiler.is_compiling():
        for row, call, weight in zip(rows, numbers.unbind(), weights, strict=True):
            _fold(buffer.rows[row], call)
            buffer.rows[row, COUNT] += weight
        return
    fresh = not any(buffer.counts[row] for row in rows) and len(set(rows)) == len(rows)
    if fresh and rows == list(range(rows[0], rows[-1] + 1, _step(rows))):
        buffer.rows[rows[0] : rows[-1] + 1 : _step(rows), MINIMUM : SUM + 1] = numbers
    else:
        for row, call in zip(rows, numbers.unbind(), strict=True):
            _fold(buffer.rows[row], call)
    for row, weight in zip(rows, weights, strict=True):
        buffer.counts[row] += weight


def _step(rows: list[int]) -> int:
    """Return the distance of the first two rows: a model's blocks are alike, so are the distances."""
    return max(rows[1] - rows[0], 1) if len(rows) > 1 else 1


def _fold(row: Tensor, numbers: Tensor) -> None:
    """Fold one call's numbers into its row, whose columns are neutral at first."""
    low, top, total = row[MINIMUM], row[MAXIMUM : BOUND + 1], row[SUM]
    torch.minimum(low, numbers[0], out=low)
    torch.maximum(top, numbers[1:3], out=top)
    total += numbers[3]
