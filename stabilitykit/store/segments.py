"""One file of readings: an Arrow IPC stream of wide float32 columns, written and read batch by batch.

A segment's columns are ``step`` and one for each tag. A tag that was not read at a step is null there,
or has no column in the segment; NaN is a reading. What else is to be known of it stands in its schema's
metadata, so that it comes and goes with the file.
"""

import errno
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from stabilitykit.store.disk import AppendFile
from stabilitykit.store.documents import parse_json

SCHEMA_VERSION = 1

STATE = b"state"
"""The detectors' state after the segment's first step, as JSON."""
EVERY = b"every"
"""Only in a rewritten segment: away from incidents one row in so many steps is left."""
RENAMED = b"renamed"
"""Conventional names of renamed sites, as JSON; absent where there are none."""
DAMAGE = b"damage"
"""Only in a rewritten segment: what had been lost of the original."""


def segment_path(folder: Path, number: int) -> Path:
    """Return where segment ``number`` lies in a folder of readings."""
    return folder / f"segment-{number:05d}.arrow"


def segment_files(folder: Path) -> list[Path]:
    """Return the segments of a folder in the order they were written."""
    found = [p for p in folder.glob("segment-*.arrow") if p.stem.partition("-")[2].isdigit()]
    return sorted(found, key=segment_number)


def segment_number(path: Path) -> int:
    """Return the number of a segment from its file's name."""
    return int(path.stem.partition("-")[2])


def segment_schema(tags: Sequence[str], metadata: Mapping[bytes, bytes]) -> pa.Schema:
    """Return the schema of a segment with these tags."""
    fields = [pa.field("step", pa.int64()), *(pa.field(tag, pa.float32()) for tag in tags)]
    return pa.schema(fields, metadata={b"schema_version": str(SCHEMA_VERSION).encode(), **metadata})


class SegmentFile:
    """A segment being written. Arrow writes to memory and each batch goes to disk in one piece.

    Args:
        path: A file that does not exist yet.
        schema: As ``segment_schema`` makes it.
        compression: LZ4 costs next to nothing; ZSTD makes files a fifth smaller at ten times the time.

    Raises:
        OSError: The disk did not take it.
    """

    def __init__(self, path: Path, schema: pa.Schema, compression: Literal["lz4", "zstd"]) -> None:
        self.size = 0
        """Bytes on disk."""
        self._memory = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
        self._stream = pa.ipc.new_stream(self._memory, schema, options=options)
        self._path = path
        self._file = AppendFile(path, new=True)
        self._failed = False

    def write(self, batch: pa.RecordBatch) -> None:
        """Append one batch.

        Raises:
            OSError: The disk did not take it.
        """
        self._stream.write_batch(batch)
        self._drain()

    def replace(self, path: Path) -> None:
        """Write the end mark, wait until the disk itself has everything, and take another file's place.

        Args:
            path: Where the segment lies from now on.

        Raises:
            OSError: The disk did not take it.
        """
        self._stream.close()
        self._drain()
        self._file.sync()
        self._path.replace(path)

    def close(self) -> None:
        """Close the file, quietly; what is there without an end mark reads back as far."""
        self._file.close()

    def end(self) -> None:
        """Write the end mark if all went well so far, and close, quietly."""
        if not self._failed:
            self._stream.close()
            try:
                self._drain()
            except OSError:
                # The mark is a courtesy: a segment without it reads back as far.
                self._failed = True
        self.close()

    def _drain(self) -> None:
        data = self._memory.getvalue()
        self._memory.seek(0)
        self._memory.truncate()
        try:
            self._file.write(data)
        except OSError:
            self._failed = True
            raise
        self.size += len(data)


class Segment:
    """One segment on disk as it was when opened, whole or damaged.

    Reading it raises nothing; ``damage`` says what was lost. The file may be replaced meanwhile: it stays
    mapped, without taking up a file descriptor.

    Args:
        path: The segment's file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None
        """What could not be read, or None; complete once a reading has come to its end."""
        self.tags: tuple[str, ...] = ()
        self.metadata: Mapping[bytes, bytes] = {}
        """What stands in its schema beside the columns."""
        self._data: pa.Buffer | None = None
        self._open()
        first = next(self.batches(()), None)
        self.first_step: int | None = None if first is None else first.column(0)[0].as_py()

    @property
    def every(self) -> int:
        """Away from incidents one row in so many steps is there; 1 where nothing was thinned."""
        text = self.metadata.get(EVERY, b"1")
        return int(text) if text.isdigit() else 1

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return 0 if self._data is None else int(self._data.size)

    def state(self) -> dict[str, Any] | None:
        """Return the detectors' state after the first step, or None where none was kept."""
        try:
            state = parse_json(self.metadata[STATE])
        except (KeyError, ValueError):
            return None
        return state if isinstance(state, dict) else None

    @property
    def renamed(self) -> dict[str, str]:
        """Conventional names of the sites to which the user has given others."""
        try:
            names = parse_json(self.metadata[RENAMED])
        except (KeyError, ValueError):
            return {}
        return {str(k): str(v) for k, v in names.items()} if isinstance(names, dict) else {}

    def batches(self, tags: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the batches, none of them empty, with the columns ``step`` and ``tags``."""
        if self._data is None:
            return
        fields = [0, *(1 + self.tags.index(tag) for tag in tags)] if tags != self.tags else None
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        last: int | None = None
        try:
            with pa.ipc.open_stream(self._data, options=options) as stream:
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

    def _open(self) -> None:
        try:
            if not self.path.is_file():
                # Opening a pipe might never end.
                raise OSError(errno.EINVAL, "no file", str(self.path))
            with pa.memory_map(str(self.path)) as file:
                data = file.read_buffer()
            with pa.ipc.open_stream(data) as stream:
                schema = stream.schema
            # A name that is no UTF-8 is found out only here.
            names, types = schema.names, schema.types
        except (pa.ArrowException, OSError, ValueError):
            names, types = [], []
        if names[:1] != ["step"] or types != [pa.int64()] + [pa.float32()] * (len(names) - 1):
            self.damage = f"{self.path.name}: unreadable; passed over"
            return
        self._data, self.tags = data, tuple(names[1:])
        self.metadata = schema.metadata or {}
        self.damage = self.metadata[DAMAGE].decode(errors="replace") if DAMAGE in self.metadata else None
