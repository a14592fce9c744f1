"""One sweep at a time in a folder."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stabilitykit.errors import RunFolderError
from stabilitykit.store.disk import reason

LOCK = "sweep.lock"


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
        file = path.open("a+", encoding="utf-8")
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
                holder = file.read().strip() or "another process"
                raise RunFolderError(
                    f"{folder}: {holder} is sweeping here; wait for it, or name another folder with --logdir"
                ) from None
            except OSError:
                # Some network disks know no locks; there one has to take care oneself.
                pass
        with suppress(OSError):
            file.truncate(0)
            file.write(f"process {os.getpid()}\n")
            file.flush()
        yield
