"""Readings on disk: segments of wide float32 columns in Arrow's IPC stream form, read back batch by batch.

A segment's columns are ``step`` and one for each tag. A tag that was not read at a step is null there,
or has no column in the segment; NaN is a reading.
"""

import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stabilitykit.records import StepRecord
from stabilitykit.store.disk import AppendFile

SCHEMA_VERSION = 1
MAX_ROWS = 256
MAX_AGE_S = 2.0


def segment_path(folder: Path, number: int) -> Path:
    """Return where segment ``number`` lies in a folder of readings."""
    return folder / f"segment-{number:05d}.arrow"


class ReadingsWriter:
    """Writes step records in batches of at most 256 rows or 2 s.

    A new segment begins where a tag turns up that the present one has no column for. Steps that read
    fewer tags stay in it, with nulls, so that looking closely at every tenth step makes no thousand files.

    Args:
        folder: An existing folder for the segments; those in it are left as they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = max((int(p.stem.partition("-")[2]) for p in segment_files(folder)), default=-1) + 1
        self._segment: _SegmentWriter | None = None
        self._tags: tuple[str, ...] | None = None
        self._fits: dict[tuple[str, ...], bool] = {}
        self._rows: list[StepRecord] = []
        self._flushed_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the rows held back are enough, or old enough, for a batch."""
        return len(self._rows) >= MAX_ROWS or time.monotonic() - self._flushed_at >= MAX_AGE_S

    def fits(self, tags: tuple[str, ...]) -> bool:
        """Return whether a record of these tags can join the present segment."""
        if self._tags is None or tags is self._tags:
            return self._tags is not None
        if tags not in self._fits:
            self._fits[tags] = _positions(self._tags, tags) is not None
        return self._fits[tags]

    def begin_segment(self, tags: tuple[str, ...]) -> None:
        """Close the present segment; the next rows go to a new one with these columns.

        Raises:
            OSError: Rows held back for the present segment cannot be written.
        """
        self.flush()
        self.close()
        self._tags, self._fits = tags, {}

    def add(self, record: StepRecord) -> None:
        """Take one record into the present segment; it is written with the next batch."""
        self._rows.append(record)

    def flush(self) -> int | None:
        """Write what is held back, and return the last step in it, or None if there was nothing.

        Raises:
            OSError: The disk did not take it.
        """
        self._flushed_at = time.monotonic()
        if not self._rows or self._tags is None:
            return None
        if self._segment is None:
            self._segment = _SegmentWriter(segment_path(self._folder, self._number), self._tags)
            self._number += 1
        self._segment.write(self._rows)
        last = self._rows[-1].step
        self._rows = []
        return last

    def close(self) -> None:
        """End the present segment, quietly; rows still held back are dropped."""
        if self._segment is not None:
            self._segment.close()
        self._segment, self._rows = None, []


class _SegmentWriter:
    """One segment file. Arrow writes to memory and each batch goes to disk in one piece."""

    def __init__(self, path: Path, tags: tuple[str, ...]) -> None:
        fields = [pa.field("step", pa.int64()), *(pa.field(tag, pa.float32()) for tag in tags)]
        self._schema = pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})
        self._tags = tags
        self._memory = io.BytesIO()
        self._stream = pa.ipc.new_stream(self._memory, self._schema)
        self._file = AppendFile(path, new=True)
        self._failed = False

    def write(self, rows: Sequence[StepRecord]) -> None:
        """Append one batch."""
        steps = pa.array([row.step for row in rows], pa.int64())
        values, missing = self._table(rows)
        if missing is None:
            columns = [pa.array(column) for column in values]
        else:
            columns = [pa.array(v, mask=m) for v, m in zip(values, missing, strict=True)]
        self._stream.write_batch(pa.RecordBatch.from_arrays([steps, *columns], schema=self._schema))
        self._drain()

    def _table(self, rows: Sequence[StepRecord]) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        if all(row.tags is self._tags or row.tags == self._tags for row in rows):
            return np.ascontiguousarray(np.stack([row.values for row in rows], axis=1)), None
        values = np.zeros((len(self._tags), len(rows)), np.float32)
        missing = np.ones(values.shape, np.bool_)
        positions: dict[tuple[str, ...], list[int] | None] = {}
        for at, row in enumerate(rows):
            if row.tags not in positions:
                positions[row.tags] = _positions(self._tags, row.tags)
            values[positions[row.tags], at] = row.values
            missing[positions[row.tags], at] = False
        return values, missing

    def _drain(self) -> None:
        data = self._memory.getvalue()
        self._memory.seek(0)
        self._memory.truncate()
        try:
            self._file.write(data)
        except OSError:
            self._failed = True
            raise

    def close(self) -> None:
        """Write the end mark if all went well so far, and close."""
        if not self._failed:
            self._stream.close()
            try:
                self._drain()
            except OSError:
                # The mark is a courtesy: a segment without it reads back as far.
                self._failed = True
        self._file.close()


def _positions(columns: tuple[str, ...], tags: tuple[str, ...]) -> list[int] | None:
    """Return where each tag stands among the columns, or None unless they keep the columns' order."""
    where = {column: at for at, column in enumerate(columns)}
    found = [where.get(tag, -1) for tag in tags]
    in_order = all(a < b for a, b in zip([-1, *found], found, strict=False))
    return found if in_order else None


def segment_files(folder: Path) -> list[Path]:
    """Return the segments of a folder in the order they were written."""
    return sorted(p for p in folder.glob("segment-*.arrow") if p.stem.partition("-")[2].isdigit())


class Segment:
    """One segment on disk, whole or damaged; reading it raises nothing, ``damage`` says what was lost.

    Args:
        path: The segment's file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None
        """What could not be read, or None; complete once a reading has come to its end."""
        tags = _read_tags(path)
        self.tags = tags or ()
        self._readable = tags is not None
        if not self._readable:
            self.damage = f"{path.name}: unreadable; passed over"
        first = next(self.batches(()), None)
        self.first_step: int | None = None if first is None else first.column(0)[0].as_py()

    def batches(self, tags: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the batches, none of them empty, with the columns ``step`` and ``tags``."""
        if not self._readable:
            return
        fields = [0, *(1 + self.tags.index(tag) for tag in tags)] if tags != self.tags else None
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        last: int | None = None
        try:
            with pa.memory_map(str(self.path)) as file, pa.ipc.open_stream(file, options=options) as stream:
                while True:
                    batch = stream.read_next_batch()
                    batch.validate()
                    if batch.num_rows:
                        last = batch.column(0)[-1].as_py()
                        yield batch
        except StopIteration:
            return
        except (pa.ArrowException, OSError, ValueError):
            at = "before its first step" if last is None else f"after step {last}"
            self.damage = f"{self.path.name}: cut or damaged {at}; what follows in it is passed over"

    def scan(self) -> None:
        """Read the steps alone to the end, so that ``damage`` is complete."""
        for _ in self.batches(()):
            pass


def _read_tags(path: Path) -> tuple[str, ...] | None:
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            schema = stream.schema
            types = [pa.int64()] + [pa.float32()] * (len(schema) - 1)
            if schema.names[:1] != ["step"] or schema.types != types:
                return None
            return tuple(schema.names[1:])
    except (pa.ArrowException, OSError, ValueError):
        return None
