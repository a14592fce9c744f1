"""A run's folder within its budget: the newest steps in full, older ones thinned, incidents kept.

A segment that is no longer written to is replaced by a smaller one: written beside it, waited for, renamed
over it. So at any moment, and after ``kill -9`` at any moment, one of the two is there as a whole.
"""

import json
import math
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute  # `take` would load it in the middle of training.
from numpy.typing import NDArray

from stabilitykit.records import Incident
from stabilitykit.store.contents import folder_bytes
from stabilitykit.store.disk import part_of
from stabilitykit.store.segments import (
    DAMAGE,
    EVERY,
    RENAMED,
    STATE,
    Segment,
    SegmentFile,
    segment_files,
    segment_schema,
)

AROUND = 50
"""Steps before and after an incident's start, peak and end that are kept longest."""

_SEGMENTS = 32
"""Full segments in a budget."""
_SLICE_S = 0.001
"""Time that is spent on rewriting at one step."""
_ROWS = 512
"""Rows in a rewritten batch."""


@dataclass(slots=True)
class _Closed:
    """A segment that is no longer written to."""

    path: Path
    size: int
    every: int
    packed: bool
    """Whether it was written anew, in large batches."""
    has_state: bool
    first: int
    """Its first step."""
    done: bool = False
    """Whether there is nothing more to be gained, or to be dared, with it."""


class Thinner:
    """Keeps a run's folder within a budget, a slice of a millisecond at a step.

    Half of the readings' room is for the newest steps in full. Older segments are thinned evenly, the
    oldest first: where there is no room, from one row in ``n`` to one in ``2 n``. Rows near an incident
    stay as long as they are no more than the evenly spaced ones. Nothing is thinned that the replay
    needs: behind every thinned segment stands a full one with the detectors' state.

    Where rows are few, the columns' names at the head of each segment are what takes the room: neighbours
    then become one segment. What was recorded again since goes altogether.

    What else is in the folder counts as well.

    Args:
        folder: The run's folder.
        readings: Where the segments lie.
        budget: Bytes; infinite where nothing shall be thinned.
        incidents: What has happened so far.
    """

    def __init__(self, folder: Path, readings: Path, budget: float, incidents: Iterable[Incident]) -> None:
        self._folder = folder
        self._budget = budget
        self._marks: dict[int, tuple[int, ...]] = {}
        self._work: Generator[None, None, None] | None = None
        self._closed: list[_Closed] = []
        self._copy: SegmentFile | None = None
        """A segment's rewritten copy while it stands beside the segment itself."""
        self._largest = self.segment_bytes
        self._taken = 0.0
        self._is_hindered = False
        """Whether the disk itself was too full to rewrite anything."""
        for incident in incidents:
            self.mark(incident)
        for path in segment_files(readings):
            self._add(path)

    @property
    def segment_bytes(self) -> float:
        """Bytes at which a segment is full."""
        return self._budget / _SEGMENTS

    def mark(self, incident: Incident) -> None:
        """Keep the steps around an incident."""
        steps = (incident.start, incident.detected, incident.peak, incident.end)
        self._marks[incident.id] = tuple(step for step in steps if step is not None)

    def closed(self, path: Path) -> None:
        """Take a segment that is complete, and thin what there is no more room for in the steps to come."""
        self._add(path)
        # The segment being written takes its part, and as much again is for what else grows meanwhile.
        self._taken = self._others() + self._largest
        if self._work is None:
            self._work = self._thin()

    def make_room(self, size: float) -> bool:
        """Return whether the folder has room for more, after thinning at once what stands in the way of it.

        Where the disk is too full for thinning it is the disk that will refuse.

        Args:
            size: Bytes that are about to be written.
        """
        if self._room_beside(size) >= self._largest + self.segment_bytes:
            return True
        self.stop()
        self._taken = self._others() + size
        for _ in self._thin():
            pass
        # Room for the next copy stays: a process that is killed while one stands there leaves it behind.
        copy = 0 if self._step() is None else self._largest
        return self._is_hindered or self._room_beside(size) >= copy

    def work(self) -> None:
        """Go on with what is to be rewritten, for about a millisecond."""
        if self._work is None:
            return
        until = time.monotonic() + _SLICE_S
        for _ in self._work:
            if time.monotonic() >= until:
                return
        self._work = None

    def stop(self) -> None:
        """Leave what is half done undone."""
        if self._work is not None:
            self._work.close()
        self._work = None

    def _add(self, path: Path) -> None:
        segment = Segment(path)
        if segment.first_step is not None:
            self._largest = max(self._largest, segment.size)
            metadata = segment.metadata
            self._closed.append(
                _Closed(
                    path,
                    segment.size,
                    segment.every,
                    EVERY in metadata,
                    STATE in metadata,
                    segment.first_step,
                )
            )

    def _thin(self) -> Generator[None, None, None]:
        try:
            while self._is_over() and (step := self._step()) is not None:
                yield from step
        except (OSError, pa.ArrowException):
            # It takes some room first. A disk that is full is met, and told of, where a step is recorded.
            self._is_hindered = True

    def _room(self) -> float:
        """Return the bytes that closed segments may take."""
        return self._budget - self._taken - self._largest

    def _others(self) -> float:
        """Return the bytes of all that is no closed segment."""
        return folder_bytes(self._folder) - sum(each.size for each in self._closed)

    def _room_beside(self, size: float) -> float:
        """Return the bytes left for a segment's rewritten copy, and for TensorBoard until the next look.

        What is written of a copy so far has its place in that already.
        """
        copy = 0 if self._copy is None else self._copy.size
        return self._budget - (folder_bytes(self._folder) - copy + size)

    def _is_over(self) -> bool:
        return not math.isinf(self._budget) and sum(each.size for each in self._closed) > self._room()

    def _step(self) -> Generator[None, None, None] | None:
        """Return what makes the folder smaller next, or None where nothing does."""
        room = self._room()
        for at, each in enumerate(self._closed):
            if any(later.first <= each.first for later in self._closed[at + 1 :]):
                return self._drop(each)
        loose = next((each for each in self._closed if not each.packed and not each.done), None)
        if loose is not None:
            return self._rewrite(loose, 1)
        last = max((at for at, each in enumerate(self._closed) if each.has_state), default=0)
        before = self._closed[:last]
        free = [each for each in before if not each.done]
        full, thinned = [e for e in free if e.every == 1], [e for e in free if e.every > 1]
        in_full = sum(each.size for each in self._closed if each.every == 1)
        if full and (in_full > room / 2 or not thinned):
            return self._rewrite(full[0], max([2, *(each.every for each in thinned)]))
        for one, other in pairwise(before):
            is_small = one.size + other.size < self.segment_bytes
            if not thinned or (is_small and min(one.every, other.every) > 1):
                return self._merge(one, other)
        if thinned:
            coarsest_last = min(thinned, key=lambda each: each.every)
            return self._rewrite(coarsest_last, 2 * coarsest_last.every)
        return None

    def _drop(self, closed: _Closed) -> Generator[None, None, None]:
        """Remove a segment all of whose steps were recorded again later."""
        self._closed.remove(closed)
        closed.path.unlink(missing_ok=True)
        yield

    def _merge(self, one: _Closed, other: _Closed) -> Generator[None, None, None]:
        """Make two neighbours one, in the first one's place, with the columns of both.

        Killed in between, the second one is still there, and what stands in both counts once.
        """
        every = max(2, one.every, other.every)
        segments = [Segment(one.path), Segment(other.path)]
        tables = []
        for segment, end in zip(segments, (other.first, None), strict=True):
            for batch in segment.batches(segment.tags):
                steps = batch.column(0).to_numpy()
                rows = len(steps) if end is None else int(np.searchsorted(steps, end))
                if rows:
                    tables.append(pa.Table.from_batches([batch.slice(0, rows)]).replace_schema_metadata())
                yield
        table = pa.concat_tables(tables, promote_options="default").combine_chunks()
        steps = table.column(0).to_numpy()
        marks = np.unique([step for found in self._marks.values() for step in found]).astype(np.int64)
        table = table.filter(pa.array(kept(steps, every, marks)))
        metadata = {EVERY: str(every).encode()}
        if damage := "; ".join(each.damage for each in segments if each.damage is not None):
            metadata[DAMAGE] = damage.encode()
        if renamed := segments[0].renamed | segments[1].renamed:
            metadata[RENAMED] = json.dumps(renamed).encode()
        schema = segment_schema(table.column_names[1:], metadata)
        with self._copy_of(one.path, schema) as file:
            for batch in table.to_batches(_ROWS):
                file.write(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
                yield
            file.replace(one.path)
        one.size, one.every, one.packed, one.has_state, one.done = file.size, every, True, False, False
        yield from self._drop(other)

    def _rewrite(self, closed: _Closed, every: int) -> Generator[None, None, None]:
        segment = Segment(closed.path)
        found = [np.empty(0, np.int64)]
        for batch in segment.batches(()):
            found.append(batch.column(0).to_numpy())
            yield
        steps = np.concatenate(found)
        if every > 1:
            every = _coarser(steps, closed.every, every)
        if every == 0:
            closed.done = True
            return
        marks = np.unique([step for steps in self._marks.values() for step in steps]).astype(np.int64)
        keep = kept(steps, every, marks)
        metadata = {EVERY: str(every).encode()}
        if every == 1 and STATE in segment.metadata:
            metadata[STATE] = segment.metadata[STATE]
        if RENAMED in segment.metadata:
            metadata[RENAMED] = segment.metadata[RENAMED]
        damage = segment.damage
        if damage is not None:
            metadata[DAMAGE] = damage.encode()
        with self._copy_of(closed.path, segment_schema(segment.tags, metadata)) as file:
            for batch in _batches(segment, keep):
                if batch is not None:
                    file.write(batch)
                yield
            if segment.damage != damage:
                # Steps that could be read stand beside readings that cannot: let it be.
                closed.done = True
                return
            file.replace(closed.path)
        closed.size, closed.every, closed.packed, closed.has_state = file.size, every, True, STATE in metadata
        yield

    @contextmanager
    def _copy_of(self, path: Path, schema: pa.Schema) -> Iterator[SegmentFile]:
        """Open a segment's copy beside it, and leave none that did not take its place."""
        part = part_of(path)
        self._copy = file = SegmentFile(part, schema, "zstd")
        try:
            yield file
        finally:
            self._copy = None
            file.close()
            with suppress(OSError):
                part.unlink(missing_ok=True)


def kept(steps: NDArray[np.int64], every: int, marks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows are left of a segment.

    The first row of every span of ``every`` steps is, and so the segment's first. Of those within 50 steps
    of a mark, the nearest are, as many as of the others.

    Args:
        steps: The rows' steps, rising.
        every: Steps in a span.
        marks: Steps of incidents, rising.
    """
    keep = _firsts(steps, every)
    if not marks.size:
        return keep
    after = np.searchsorted(marks, steps)
    distance = np.minimum(
        np.abs(steps - marks[np.maximum(after - 1, 0)]),
        np.abs(steps - marks[np.minimum(after, marks.size - 1)]),
    )
    near = np.flatnonzero(~keep & (distance <= AROUND))
    keep[near[np.argsort(distance[near], kind="stable")][: np.count_nonzero(keep)]] = True
    return keep


def _firsts(steps: NDArray[np.int64], every: int) -> NDArray[np.bool_]:
    spans = steps // every
    return np.concatenate([[True], spans[1:] != spans[:-1]])


def _coarser(steps: NDArray[np.int64], now: int, every: int) -> int:
    """Return the least doubling of ``every`` that leaves clearly fewer rows, or 0 where none does."""
    rows = np.count_nonzero(_firsts(steps, now))
    if rows < 2:
        return 0
    while np.count_nonzero(_firsts(steps, every)) > 0.75 * rows:
        every *= 2
    return every


def _batches(segment: Segment, keep: NDArray[np.bool_]) -> Iterator[pa.RecordBatch | None]:
    """Yield what is left in larger batches, and None in between, so that nobody waits for long."""
    held: list[pa.RecordBatch] = []
    at = 0
    for batch in segment.batches(segment.tags):
        rows = np.flatnonzero(keep[at : at + batch.num_rows])
        at += batch.num_rows
        if rows.size:
            held.append(batch if rows.size == batch.num_rows else batch.take(pa.array(rows)))
        if sum(each.num_rows for each in held) >= _ROWS:
            yield pa.concat_batches(held)
            held = []
        else:
            yield None
    if held:
        yield pa.concat_batches(held)
