"""Writing so that what is on disk is whole or visibly cut: append without a buffer, replace atomically.

What is written is written under names of our own, into files that we made: never through a link, never into
a pipe or a device, never into a file that has another name as well.
"""

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

_NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
"""Opening a pipe that nobody writes to, or reads from, would hang."""
PART = re.compile(r"(?P<name>.+?)(\.[0-9a-f]{16})?\.part")
"""What a file is called while it is written; earlier versions had no number in it."""


class AppendFile:
    """A file that is only appended to; what was written is the system's at once: ``kill -9`` keeps it.

    Args:
        path: Where it is, or shall be.
        new: Whether the file must not exist yet.

    Raises:
        OSError: It cannot be opened, or is a link, a pipe or a device.
    """

    def __init__(self, path: Path, *, new: bool) -> None:
        descriptor, status = _opened_to_append(path, new)
        if status.st_nlink > 1:
            # Whoever else has this file, as a copy by links, keeps it as it is.
            os.close(descriptor)
            replace_file(path, read_file(path))
            descriptor, _ = _opened_to_append(path, new)
        self._file = os.fdopen(descriptor, "ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append all of ``data``.

        Raises:
            OSError: The disk did not take it; a part of it may stand at the file's end.
        """
        rest = memoryview(data)
        # An unbuffered write may take only a part, as it does where the disk fills.
        while rest:
            rest = rest[self._file.write(rest) :]

    def flush(self) -> None:
        """Do nothing: there is no buffer. Makes this a file for those who flush."""

    def sync(self) -> None:
        """Wait until the disk itself has what was written: it outlasts a power cut.

        Raises:
            OSError: The disk did not take it.
        """
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, quietly."""
        with suppress(OSError):
            self._file.close()


def replace_file(path: Path, content: str | bytes, sync: bool = True) -> None:
    """Write a small file so that it is there as a whole or not at all.

    A link of this name gives way to the file; what it names is untouched.

    Args:
        path: The file; one that exists is replaced.
        content: What it shall hold.
        sync: Whether to wait until the disk itself has it.

    Raises:
        OSError: It cannot be written; what was there before is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    part = part_of(path)
    try:
        file = AppendFile(part, new=True)
        try:
            file.write(data)
            if sync:
                file.sync()
        finally:
            file.close()
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def part_of(path: Path) -> Path:
    """Return a name for a file while it is written, which nobody has used or can foresee."""
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")


def read_file(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        OSError: It cannot be read, or is a pipe or a device, which might never end.
    """
    descriptor = os.open(path, os.O_RDONLY | _AT_ONCE | getattr(os, "O_BINARY", 0))
    _check_regular(descriptor, path)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _opened_to_append(path: Path, new: bool) -> tuple[int, os.stat_result]:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NOT_FOLLOWED | _AT_ONCE
    descriptor = os.open(path, flags | os.O_EXCL if new else flags, 0o666)
    return descriptor, _check_regular(descriptor, path)


def _check_regular(descriptor: int, path: Path) -> os.stat_result:
    """Return what is known of an open file; one that is none is closed.

    Raises:
        OSError: It is a folder, a pipe or a device.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        what = "Is a directory" if stat.S_ISDIR(status.st_mode) else "is a pipe or a device"
        raise OSError(errno.EINVAL, what, str(path))
    return status


def reason(error: OSError) -> str:
    """Return why the system refused, in its own words: ``No space left on device``."""
    return error.strerror or str(error)
