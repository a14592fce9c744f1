"""Opening a log: a regular file only, decompressed while it is read, never all of it at once."""

import io
import os
import stat
from pathlib import Path

from stabilitykit.errors import DataError
from stabilitykit.store.decompression import DAMAGE, DECOMPRESSORS, MAGIC, Readable
from stabilitykit.store.disk import reason

_FREE = 64 * 2**20
"""Bytes that an archive may give before its ratio is looked at."""
_RATIO = 200
"""Logs shrink 3- to 50-fold; an archive that gives more than this is not one."""
_KNOWN = 256
"""Bytes by which a file is known again."""


class LogFile:
    """The bytes of one log, decompressed; a file that grows can be read on after its end.

    Args:
        path: The log.

    Raises:
        DataError: It is not there, is no regular file (a pipe might never answer), or may not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw = _opened(path)
        self.compression = next((name for magic, name in MAGIC.items() if self._begins(magic)), None)
        """How it is compressed, found by its first bytes, or None."""
        # One call of the system, or of the decompressor, a read: what stands before damage is not lost.
        self._source: Readable = self._raw
        if self.compression is not None:
            self._source = DECOMPRESSORS[self.compression](self._raw)
        self._first = self._raw.peek(_KNOWN)[:_KNOWN]
        self._modified = os.fstat(self._raw.fileno()).st_mtime_ns
        self._peeked = b""
        self._given = 0
        self.stopped: str | None = None
        """Why reading ended before the file did."""

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, or nothing where there are none for now."""
        if self._peeked:
            data, self._peeked = self._peeked[:size], self._peeked[size:]
            return data
        if self.stopped is not None:
            return b""
        try:
            data = self._source.read1(size)
        except DAMAGE as error:
            if self.compression is None and isinstance(error, OSError):
                raise DataError(f"{self.path}: cannot be read ({reason(error)})") from error
            self.stopped = f"the {self.compression} archive is cut or damaged; read as far as it goes"
            return b""
        self._given += len(data)
        if self.compression and self._given > max(_FREE, _RATIO * self._raw.tell()):
            self.stopped = (
                f"the {self.compression} archive unpacks to more than {_RATIO} times its size;"
                f" read up to {self._given / 2**20:.0f} MiB"
            )
            return b""
        return data

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, or fewer where the file ends; they are read again."""
        data = b""
        while len(data) < size and (more := self.read(size - len(data))):
            data += more
        self._peeked = data
        return data

    @property
    def position(self) -> int:
        """Bytes of the file itself that were taken so far."""
        return self._raw.tell()

    @property
    def size(self) -> int:
        """Bytes of the file itself."""
        return os.fstat(self._raw.fileno()).st_size

    @property
    def replaced(self) -> bool:
        """Whether the path names another file by now, or the file was cut: it was rotated or begun anew."""
        try:
            with _opened(self.path) as now:
                opened, status = os.fstat(self._raw.fileno()), os.fstat(now.fileno())
                same = (status.st_ino, status.st_dev) == (opened.st_ino, opened.st_dev)
                # Cut and written on beyond what was read, it has another beginning.
                first = now.read(len(self._first))
        except DataError:
            # Between two files of one name there may be none.
            return False
        return not same or status.st_size < self.position or first != self._first

    @property
    def changed(self) -> bool:
        """Whether the file was written to since it was opened."""
        return os.fstat(self._raw.fileno()).st_mtime_ns != self._modified

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def __del__(self) -> None:
        # A reading that is given up leaves no file open; where opening failed there is none.
        if hasattr(self, "_raw"):
            self._raw.close()

    def _begins(self, magic: bytes) -> bool:
        self._raw.seek(0)
        found = self._raw.read(len(magic))
        self._raw.seek(0)
        return found == magic


def _opened(path: Path) -> io.BufferedReader:
    try:
        # Without waiting: opening a pipe that nobody writes to would hang.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        what = "Is a directory" if stat.S_ISDIR(kind) else "a pipe or a device; save what it gives to a file"
        raise DataError(f"{path}: cannot be read ({what})")
    return io.BufferedReader(io.FileIO(descriptor), 2**16)
