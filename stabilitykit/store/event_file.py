"""TensorBoard's event files: written record by record without a thread, and read back past damage."""

import itertools
import math
import os
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from stabilitykit.errors import DataError, RunFolderError
from stabilitykit.store.checksum import masked_crc32c
from stabilitykit.store.disk import AppendFile
from stabilitykit.store.event_names import event_files
from stabilitykit.store.event_stream import EventStream, scalar
from stabilitykit.store.opening import LogFile

_NUMBER = itertools.count()
_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")


class EventFile:
    """One event file, open for writing.

    tensorboard's own ``EventFileWriter`` writes in a thread, which on a full disk dies with a traceback
    on stderr; here the record is on disk, or the error raised, when ``write`` returns.

    Args:
        folder: Where to put it; made with its parents.
        ending: How its name ends, where it is of a special kind.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, folder: Path, ending: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # A name that sorts by time, as TensorBoard reads them, within a second too (a run resumed at once),
        # and that two writers at once never share.
        seconds, rest = divmod(time.time_ns(), 10**9)
        name = f"{seconds:010d}.{rest:09d}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBER)}{ending}"
        self.path = folder / f"events.out.tfevents.{name}"
        self._file = AppendFile(self.path, new=True)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, values: Sequence[Summary.Value], step: int, most: float = math.inf) -> int:
        """Append one event that holds all ``values``, and return its bytes.

        Args:
            values: What TensorBoard shows.
            step: Where.
            most: Bytes that it may take; one that takes more is not written, and 0 returned.

        Raises:
            OSError: The disk did not take it.
        """
        return self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)), most)

    def close(self) -> None:
        """Close the file, quietly."""
        self._file.close()

    def _write(self, event: Event, most: float = math.inf) -> int:
        data = event.SerializeToString()
        if len(data) + _LENGTH.size + 2 * _CHECKSUM.size > most:
            return 0
        length = _LENGTH.pack(len(data))
        checksums = [_CHECKSUM.pack(masked_crc32c(each)) for each in (length, data)]
        record = b"".join([length, checksums[0], data, checksums[1]])
        self._file.write(record)
        return len(record)


class Scalars(dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]):
    """The scalars of a folder: tag to steps, rising, and values.

    Args:
        scalars: Tag to steps and values.
        notes: What was damaged and passed over, one line each.
    """

    def __init__(
        self, scalars: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]], notes: Sequence[str]
    ) -> None:
        super().__init__(scalars)
        self.notes = tuple(notes)


def read_scalars(folder: str | Path) -> Scalars:
    """Return every scalar of the event files in a folder, whoever wrote them.

    Where a step was written twice, the newer value counts.

    Args:
        folder: A folder with event files, or one event file.

    Raises:
        DataError: There is no event file.
        RunFolderError: One cannot be read.
    """
    path = Path(folder)
    files = event_files(path) if path.exists() else []
    if not files:
        raise DataError(f"{path}: no TensorBoard event file (events.out.tfevents.*) in it")
    found: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    notes: list[str] = []
    for file in files:
        for event in read_events(file, notes):
            for value in event.summary.value:
                number = scalar(value)
                if number is not None:
                    steps, values = found[value.tag]
                    steps.append(event.step)
                    values.append(number)
    return Scalars({tag: _newest(*series) for tag, series in found.items()}, notes)


def read_events(path: Path, notes: list[str]) -> Iterator[Event]:
    """Yield the events of a file, past damage.

    Args:
        path: The event file.
        notes: Where it is noted what was damaged.

    Raises:
        RunFolderError: It cannot be read.
    """
    try:
        file = LogFile(path)
    except DataError as error:
        raise RunFolderError(str(error)) from error
    with closing(file):
        stream = EventStream(file)
        yield from stream.events()
        stream.end()
    notes += [f"{path.name}: {damage}" for damage in stream.damage]


def _newest(steps: list[int], values: list[float]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    at, numbers = np.array(steps, np.int64), np.array(values, np.float32)
    # Reversed, because np.unique keeps the first of equals.
    unique, first = np.unique(at[::-1], return_index=True)
    return unique, numbers[::-1][first]
