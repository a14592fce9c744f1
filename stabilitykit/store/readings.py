"""Readings on disk: step records in, segments out, none of which grows without an end."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stabilitykit.records import StepRecord
from stabilitykit.store.segments import (
    RENAMED,
    STATE,
    SegmentFile,
    segment_files,
    segment_number,
    segment_path,
    segment_schema,
)

MAX_ROWS = 256
MAX_AGE_S = 2.0

_BATCH, _COLUMN = 1_000, 250
"""Bytes of a batch, and of each of its columns, beside the values."""
_STATES = 4
"""Full segments' bytes after which a segment begins with a state, however few steps there were."""

_HEADS = 32
"""A segment shall have so many times the bytes of what stands at its head, which thinning leaves as it is."""


class ReadingsWriter:
    """Writes step records in batches of at most 256 rows or 2 s.

    A new segment begins where a tag turns up that the present one has no column for. Steps that read
    fewer tags stay in it, with nulls, so that looking closely at every tenth step makes no thousand files.

    Args:
        folder: An existing folder for the segments; those in it are left as they are.
        segment_bytes: A segment of this size is full, or of at most four times this size where there is
            much at its head.
        state: Returns the detectors' state after the record added last, in plain JSON types.
    """

    def __init__(
        self, folder: Path, segment_bytes: float, state: Callable[[], Mapping[str, Any]] | None = None
    ) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._state = state
        self._number = max(map(segment_number, segment_files(folder)), default=-1) + 1
        self._segment: SegmentFile | None = None
        self._path: Path | None = None
        self._metadata: dict[bytes, bytes] = {}
        self._tags: tuple[str, ...] | None = None
        self._fits: dict[tuple[str, ...], list[int] | None] = {}
        self._rows: list[StepRecord] = []
        self._full_at = segment_bytes
        self._since_state: int | None = None
        self._bytes_since_state = 0
        self._flushed_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the rows held back are enough, or old enough, for a batch."""
        return len(self._rows) >= MAX_ROWS or time.monotonic() - self._flushed_at >= MAX_AGE_S

    @property
    def is_full(self) -> bool:
        """Whether the present segment is large enough."""
        return self._segment is not None and self._segment.size >= self._full_at

    @property
    def tags(self) -> tuple[str, ...]:
        """The columns of the present segment."""
        return self._tags or ()

    def fits(self, tags: tuple[str, ...]) -> bool:
        """Return whether a record of these tags can join the present segment."""
        if self._tags is None or tags is self._tags:
            return self._tags is not None
        return self._positions(tags) is not None

    @property
    def waiting_bytes(self) -> float:
        """About how many bytes the rows held back will take; rather too many."""
        if not self._rows:
            return 0.0
        columns = len(self.tags) + 1
        head = 0 if self._segment is not None else segment_schema(self.tags, self._metadata).serialize().size
        return head + _BATCH + columns * (_COLUMN + 5 * len(self._rows))

    def begin_segment(self, tags: tuple[str, ...], again: bool = False) -> Path | None:
        """Close the present segment; the next rows go to a new one with these columns.

        Args:
            tags: The columns.
            again: Whether the rows to come repeat earlier ones.

        Returns:
            The segment that was closed, or None where nothing had been written to it.

        Raises:
            OSError: Rows held back for the present segment cannot be written.
        """
        self.flush()
        closed, self._path = self._path, None
        self.close()
        self._tags, self._fits, self._metadata = tags, {}, {}
        self._since_state = None if again else self._since_state
        return closed

    def add(self, record: StepRecord) -> None:
        """Take one record into the present segment; it is written with the next batch."""
        self._rows.append(record)
        if self._segment is None and len(self._rows) == 1:
            if record.renamed:
                self._metadata[RENAMED] = json.dumps(dict(record.renamed)).encode()
            self._keep_state()
        if self._since_state is not None:
            self._since_state += 1

    def flush(self) -> int | None:
        """Write what is held back, and return the last step in it, or None if there was nothing.

        Raises:
            OSError: The disk did not take it.
        """
        self._flushed_at = time.monotonic()
        if not self._rows or self._tags is None:
            return None
        if self._segment is None:
            self._path = segment_path(self._folder, self._number)
            self._schema = segment_schema(self._tags, self._metadata)
            self._segment = SegmentFile(self._path, self._schema, "lz4")
            self._number += 1
            heads = _HEADS * self._schema.serialize().size
            self._full_at = max(self._segment_bytes, min(heads, 4 * self._segment_bytes))
        self._segment.write(self._batch())
        last = self._rows[-1].step
        self._rows = []
        return last

    def close(self) -> None:
        """End the present segment, quietly; rows still held back are dropped."""
        if self._segment is not None:
            self._segment.end()
            self._bytes_since_state += self._segment.size
        self._segment, self._rows = None, []

    def _keep_state(self) -> None:
        # Tags that come and go begin many short segments; a state is as large as hundreds of rows.
        # Where segments are short for their heads, it is what lets the others before it be thinned.
        due = self._since_state is None or self._since_state >= MAX_ROWS
        if self._state is not None and (due or self._bytes_since_state >= _STATES * self._segment_bytes):
            self._metadata[STATE] = json.dumps(self._state()).encode()
            self._since_state = self._bytes_since_state = 0

    def _batch(self) -> pa.RecordBatch:
        steps = pa.array([row.step for row in self._rows], pa.int64())
        values, missing = self._table(self._rows)
        if missing is None:
            columns = [pa.array(column) for column in values]
        else:
            columns = [pa.array(v, mask=m) for v, m in zip(values, missing, strict=True)]
        return pa.RecordBatch.from_arrays([steps, *columns], schema=self._schema)

    def _table(self, rows: Sequence[StepRecord]) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        tags = self.tags
        if all(row.tags is tags or row.tags == tags for row in rows):
            return np.ascontiguousarray(np.stack([row.values for row in rows], axis=1)), None
        values = np.zeros((len(tags), len(rows)), np.float32)
        missing = np.ones(values.shape, np.bool_)
        for at, row in enumerate(rows):
            positions = self._positions(row.tags)
            values[positions, at] = row.values
            missing[positions, at] = False
        return values, missing

    def _positions(self, tags: tuple[str, ...]) -> list[int] | None:
        """Return where each tag stands among the columns, or None unless they keep the columns' order."""
        if tags not in self._fits:
            where = {column: at for at, column in enumerate(self.tags)}
            found = [where.get(tag, -1) for tag in tags]
            in_order = all(a < b for a, b in zip([-1, *found], found, strict=False))
            self._fits[tags] = found if in_order else None
        return self._fits[tags]
