"""Writing so that what is on disk is whole or visibly cut: append without a buffer, replace atomically."""

import os
from contextlib import suppress
from pathlib import Path


class AppendFile:
    """A file that is only appended to; what was written is the system's at once: ``kill -9`` keeps it.

    Args:
        path: Where it is, or shall be.
        new: Whether the file must not exist yet.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path, *, new: bool) -> None:
        self._file = path.open("xb" if new else "ab", buffering=0)

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


def replace_file(path: Path, text: str) -> None:
    """Write a small file so that it is there as a whole or not at all.

    Args:
        path: The file; one that exists is replaced.
        text: Its content.

    Raises:
        OSError: It cannot be written; what was there before is untouched.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def reason(error: OSError) -> str:
    """Return why the system refused, in its own words: ``No space left on device``."""
    return error.strerror or str(error)
