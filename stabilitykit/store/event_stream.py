"""TensorBoard's event files read record by record, past damage, and on when they have grown."""

import struct
from collections.abc import Iterator

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from stabilitykit.store.checksum import masked_crc32c
from stabilitykit.store.opening import LogFile

_HEADER = struct.Struct("<QI")
_FOOTER = 4
_CHUNK = 2**20
_CERTAIN = 2**20
"""Bytes of a record above which its length's checksum is looked at: a damaged length is mostly absurd."""
_LARGEST = 2**26
"""Bytes of a record above which it is stepped over: it holds pictures or weights, not scalars."""


def begins_as_events(head: bytes) -> bool:
    """Return whether a file that begins so is an event file."""
    if len(head) < _HEADER.size:
        return False
    length, checksum = _HEADER.unpack_from(head)
    return bool(0 < length < _LARGEST and checksum == masked_crc32c(head[:8]))


class EventStream:
    """The events of one file, in order; one that grows can be read on after its end.

    Args:
        file: The event file.
    """

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self._buffer = b""
        self._at = 0
        self._skip = 0
        """Bytes of a record too large that are still to be passed over."""
        self._number = 0
        self._left = 0
        self.damage: list[str] = []
        """What was damaged and passed over."""
        self.broken = False
        """Whether a record's length is damaged, so that nothing after it can be found."""

    def events(self) -> Iterator[Event]:
        """Yield events until there are none for now."""
        while not self.broken and (record := self._next()) is not None:
            self._number += 1
            try:
                yield Event.FromString(record)
            except DecodeError:
                self.damage.append(f"record {self._number - 1} is damaged; passed over")

    def end(self) -> None:
        """Say that the file does not grow: what is left of it is a cut record."""
        left = len(self._buffer) - self._at + self._skip
        if left and not self.broken:
            self._break(left)

    def _next(self) -> bytes | None:
        """Return the next whole record, or None where there is none for now."""
        at, end = self._at, self._at + _HEADER.size
        if not self._skip and end <= len(self._buffer):
            length = _HEADER.unpack_from(self._buffer, at)[0]
            if 0 < length <= _CERTAIN and end + length + _FOOTER <= len(self._buffer):
                self._at = end + length + _FOOTER
                return self._buffer[end : end + length]
        return self._next_carefully()

    def _next_carefully(self) -> bytes | None:
        """Return the next record where it must be read first, is large, or damaged."""
        while self._skip_large() and self._filled(_HEADER.size):
            length, checksum = _HEADER.unpack_from(self._buffer, self._at)
            doubtful = length > _CERTAIN and checksum != masked_crc32c(self._buffer[self._at : self._at + 8])
            # The shortest event holds a time, so a length of 0 is a zeroed stretch, not a record.
            if length == 0 or doubtful:
                self._break(len(self._buffer) - self._at + self._file.size - self._file.position)
                return None
            if length > _LARGEST:
                self.damage.append(f"record {self._number} holds {length} bytes; passed over")
                self._number += 1
                self._at += _HEADER.size
                self._skip = length + _FOOTER
                continue
            if not self._filled(_HEADER.size + length + _FOOTER):
                return None
            start = self._at + _HEADER.size
            self._at = start + length + _FOOTER
            return self._buffer[start : start + length]
        return None

    def _skip_large(self) -> bool:
        """Pass over a large record; returns whether its end was reached."""
        while self._skip:
            if not self._filled(1):
                return False
            step = min(self._skip, len(self._buffer) - self._at)
            self._at, self._skip = self._at + step, self._skip - step
        return True

    def _filled(self, size: int) -> bool:
        """Return whether the buffer holds ``size`` more bytes, after reading on."""
        while len(self._buffer) - self._at < size:
            data = self._file.read(max(_CHUNK, size))
            if not data:
                return False
            self._buffer, self._at = self._buffer[self._at :] + data, 0
        return True

    def _break(self, left: int) -> None:
        self.broken = True
        self.damage.append(f"cut or damaged after record {self._number}; {left} bytes passed over")


def scalar(value: Summary.Value) -> float | None:
    """Return a scalar in the older form, or in that of TensorFlow 2: a tensor without dimensions."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    tensor = value.tensor
    if not value.HasField("tensor") or any(dim.size != 1 for dim in tensor.tensor_shape.dim):
        return None
    for held in (tensor.float_val, tensor.double_val, tensor.int_val, tensor.int64_val):
        if held:
            return float(held[0])
    kind = _KINDS.get(tensor.dtype)
    if kind is None or len(tensor.tensor_content) != np.dtype(kind).itemsize:
        return None
    return float(np.frombuffer(tensor.tensor_content, kind)[0])


_KINDS = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}
"""TensorFlow's numbers of types."""
