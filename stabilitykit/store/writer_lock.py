"""Whether a run is being written: its writer holds a lock, which ends with the process however that ends."""

import os
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from stabilitykit.store.contents import CONFIG

try:
    import fcntl
except ImportError:  # Windows has none: there only the time of the last write tells.
    fcntl = None  # type: ignore[assignment]

_TRIES = 5
_WAIT = 0.01
"""Seconds."""


_held: "weakref.WeakSet[WriterLock]" = weakref.WeakSet()


def _let_go_in_child() -> None:
    """Release what a forked process has of its parent's locks: a loader of data may outlive a killed run."""
    for lock in list(_held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


class WriterLock:
    """A shared lock on a run's ``config.yaml``. Where the file system has none, nothing is held.

    It goes with the writer, too: one whose disk failed is dropped, not closed.
    """

    def __init__(self) -> None:
        self._close: weakref.finalize[[int], WriterLock] | None = None

    def hold(self, folder: Path) -> None:
        """Take it.

        Raises:
            OSError: The file cannot be opened.
        """
        file = os.open(folder / CONFIG, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, file)
        _held.add(self)
        for _ in range(_TRIES if fcntl is not None else 0):
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                # Somebody is asking whether it is held, which takes microseconds.
                time.sleep(_WAIT)
            except OSError:
                return
            else:
                return

    def release(self) -> None:
        """Let go of it, if it is held."""
        if self._close is not None:
            self._close()


@contextmanager
def taking(folder: Path) -> Iterator[None]:
    """Let no other process take a folder for its run in the meantime, where the file system has locks.

    Args:
        folder: A folder that is there.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            file = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, file)
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_being_written(folder: Path) -> bool:
    """Return whether a process holds a run's lock; another machine's is not seen on every file system."""
    if fcntl is None:
        return False
    try:
        with (folder / CONFIG).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
