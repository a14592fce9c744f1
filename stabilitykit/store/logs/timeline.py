"""Rows in the order of a log become step records in the order of steps, each step once, in bounded memory.

What a run that was taken up again wrote counts from its first step on, as in a run's own folder: the steps
that the earlier attempt had beyond it are passed over. A log is in no order at all where its steps go back
again and again; then it is sorted, and the newest value of a step counts. Both within the rows held back:
a row of a step that has been given out already is passed over, and said.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stabilitykit.records import StepRecord
from stabilitykit.store.logs.names import EPOCH, STEP
from stabilitykit.store.logs.omissions import Omissions
from stabilitykit.store.logs.row_source import Row
from stabilitykit.store.logs.step_count import StepCount

_HELD = 2**16
"""Rows held back: so far a run may go back and its older rows still give way."""
_CELLS = 2**22
"""Values held back at most; a log of hundreds of columns holds fewer rows."""
_ROWS_AN_ATTEMPT = 3
"""Rows between two steps back, on average, below which a log counts as unordered."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows as columns; the loss is the first."""

    steps: NDArray[np.int64]
    values: NDArray[np.float32]
    read: NDArray[np.bool_]

    def __getitem__(self, rows: "NDArray[np.bool_] | NDArray[np.intp] | slice") -> "_Block":
        return _Block(self.steps[rows], self.values[rows], self.read[rows])


class Timeline:
    """Puts rows in order.

    Args:
        columns: What each place of a row holds, the loss first: tag, ``step`` or ``epoch`` to its name.
        omissions: Where it counts what it passes over.
    """

    def __init__(self, columns: Mapping[str, str], omissions: Omissions) -> None:
        self._tags = tuple(what for what in columns if what not in (STEP, EPOCH))
        self._places = [at for at, what in enumerate(columns) if what in self._tags]
        self._counting = StepCount(columns, omissions)
        self._omissions = omissions
        self._held: list[_Block] = []
        self._n_held = 0
        self._window = max(256, min(_HELD, _CELLS // len(self._tags)))
        self._next = -(2**62)
        """Steps below this one have been given out."""
        self._shared: dict[bytes, tuple[str, ...]] = {}
        self.given = 0
        """Records given out."""
        self.went_back = 0
        """Rows with a loss of a step before the last one given out."""

    def push(self, rows: Sequence[Row]) -> Iterator[StepRecord]:
        """Take rows in, and yield the records that are certain enough by now."""
        if rows:
            self._held.append(self._block(rows))
            self._n_held += len(self._held[-1].steps)
            if self._n_held >= 2 * self._window:
                yield from self.settle(keep=self._window)

    def settle(self, keep: int = 0) -> Iterator[StepRecord]:
        """Yield the records of all steps but the last ``keep``."""
        if not self._held:
            return
        block = _joined(self._held)
        block = self._without_late(block)
        block = self._merged(self._newest(block))
        given = max(0, len(block.steps) - keep)
        self._held = [block[given:]] if given < len(block.steps) else []
        self._n_held = len(block.steps) - given
        if given:
            self._next = int(block.steps[given - 1]) + 1
        yield from self._records(block[:given])

    def _block(self, rows: Sequence[Row]) -> _Block:
        # None becomes NaN, which some readings are themselves: only those are looked at again.
        cells = np.array(rows, np.float64).reshape(len(rows), -1)
        read = ~np.isnan(cells)
        for row, place in zip(*np.nonzero(~read), strict=True):
            read[row, place] = rows[row][place] is not None
        steps = self._counting.steps(cells, read)
        with np.errstate(over="ignore"):
            # Beyond float32 a value is infinite, as it would be had it been recorded here.
            values = cells[:, self._places].astype(np.float32)
        valid = steps.valid
        return _Block(steps.numbers[valid], values[valid], read[:, self._places][valid])

    def _without_late(self, block: _Block) -> _Block:
        late = block.steps < self._next
        if late.any():
            with_loss = late & block.read[:, 0]
            self.went_back += int((block.steps[with_loss] < self._next - 1).sum())
            self._omissions.count(
                "rows passed over because their step, or a later one, had been judged already",
                n=int(late.sum()),
            )
            block = block[~late]
        return block

    def _newest(self, block: _Block) -> _Block:
        """Return the block without what an earlier attempt had beyond the beginning of a later one."""
        rows = np.flatnonzero(block.read[:, 0])
        steps = block.steps[rows]
        begins = rows[1:][np.diff(steps) < 0]
        if not len(begins) or len(rows) < _ROWS_AN_ATTEMPT * (len(begins) + 1):
            return block
        first = np.full(len(block.steps) + 1, np.iinfo(np.int64).max)
        first[begins] = block.steps[begins]
        later = np.minimum.accumulate(first[::-1])[::-1][1:]
        kept = block.steps < later
        older = int((~kept & block.read[:, 0]).sum())
        if older:
            self._omissions.count("older rows gave way where the log goes back to an earlier step", n=older)
            self._omissions.say(
                f"the log goes back to an earlier step, first to step {block.steps[begins[0]]}"
            )
        return block[kept]

    def _merged(self, block: _Block) -> _Block:
        """Return one row a step, rising; of what was read twice the newer one."""
        if (np.diff(block.steps) > 0).all():
            return block
        order = np.argsort(block.steps, kind="stable")
        steps, read = block.steps[order], block.read[order]
        starts = np.flatnonzero(np.r_[True, np.diff(steps) > 0])
        self._count_repeated(read[:, 0], starts)
        last = np.maximum.reduceat(np.where(read, np.arange(len(steps))[:, None], -1), starts, axis=0)
        values = np.take_along_axis(block.values[order], last.clip(min=0), axis=0)
        return _Block(steps[starts], values, last >= 0)

    def _count_repeated(self, losses: NDArray[np.bool_], starts: NDArray[np.intp]) -> None:
        times = np.add.reduceat(losses.astype(np.int64), starts)
        repeated = int((times - 1).clip(min=0).sum())
        if repeated:
            self._omissions.count("rows that gave way to a newer one of the same step", n=repeated)

    def _records(self, block: _Block) -> Iterator[StepRecord]:
        """Yield the records of those rows that have a loss; rows of one sort share their tags."""
        block = block[block.read[:, 0]]
        self.given += len(block.steps)
        whole: list[bool] = np.all(block.read, axis=1).tolist()
        for step, row, complete, read in zip(
            block.steps.tolist(), block.values, whole, block.read, strict=True
        ):
            if complete:
                yield StepRecord(step, self._tags, row)
                continue
            pattern = read.tobytes()
            if pattern not in self._shared:
                self._shared[pattern] = tuple(
                    tag for tag, there in zip(self._tags, read, strict=True) if there
                )
            yield StepRecord(step, self._shared[pattern], row[read])


def _joined(blocks: Sequence[_Block]) -> _Block:
    if len(blocks) == 1:
        return blocks[0]
    return _Block(
        np.concatenate([block.steps for block in blocks]),
        np.concatenate([block.values for block in blocks]),
        np.concatenate([block.read for block in blocks]),
    )
