"""One sweep at a time in a folder."""

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from stabilitykit.errors import RunFolderError
from stabilitykit.store.disk import reason

LOCK = "sweep.lock"
_CONTENT = re.compile(r"(process \d+\s*)?")
_LONGEST = 100


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; whatever ends the process lets go of it.

    Args:
        folder: A sweep's folder; made if it is not there.

    Raises:
        RunFolderError: Another process holds it, or it cannot be written.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _opened(path)
    except OSError as error:
        raise RunFolderError(
            f"{folder}: cannot be written ({reason(error)}); name another with --logdir"
        ) from None
    with file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = _printed(file.read()) or "another process"
                raise RunFolderError(
                    f"{folder}: {holder} is sweeping here; wait for it, or name another folder with --logdir"
                ) from None
            except OSError:
                # Some network disks know no locks; there one has to take care oneself.
                pass
        file.seek(0)
        if not _CONTENT.fullmatch(file.read(_LONGEST)):
            raise RunFolderError(
                f"{path}: is somebody else's file, and no lock; move it, or name another folder with --logdir"
            )
        with suppress(OSError):
            file.truncate(0)
            file.seek(0)
            file.write(f"process {os.getpid()}\n")
            file.flush()
        yield


def remove_lock(folder: Path) -> None:
    """Remove the lock's file, if it is one of ours."""
    with suppress(OSError):
        with _opened(folder / LOCK, new=False) as file:
            is_ours = _CONTENT.fullmatch(file.read(_LONGEST)) is not None
        if is_ours:
            (folder / LOCK).unlink()


def _opened(path: Path, new: bool = True) -> TextIO:
    """Open it without following links, without waiting for whoever is at a pipe's other end.

    Raises:
        OSError: It cannot be opened, or is no file of one name.
    """
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | os.O_CREAT if new else flags, 0o666)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{path.name} is no file of its own", str(path))
    return os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace")


def _printed(content: str) -> str:
    return content.strip() if _CONTENT.fullmatch(content) else ""
