"""Removing a run's folder: only what stabilitykit wrote there, and never while it is written."""

import time
from contextlib import suppress
from pathlib import Path

from stabilitykit.errors import RunFolderError
from stabilitykit.store.contents import READINGS, own_files
from stabilitykit.store.disk import reason
from stabilitykit.store.inventory import KeptRun, kept_run

RECENT = 600.0
"""Seconds since its last write after which a run without a verdict counts as dead, where no lock tells."""


def why_kept(run: KeptRun) -> str | None:
    """Return why a run must not be removed now, or None where nothing speaks against it."""
    if run.folder.is_symlink():
        return "is a link, and links are left alone; name the folder itself"
    if run.state == "running":
        return "is being written; end that run first"
    age = time.time() - run.written
    if run.state == "unfinished" and age < RECENT:
        return (
            f"has no verdict and was written {age:.0f} s ago, so another machine may still run it;"
            f" wait until {RECENT / 60:.0f} min have passed"
        )
    return None


def remove_run(folder: Path) -> bool:
    """Remove what stabilitykit wrote into a run's folder, and the folder if nothing else is in it.

    The config goes last: a removal that was interrupted can be repeated.

    Args:
        folder: The run's folder.

    Returns:
        Whether the folder has gone; False where it holds other files.

    Raises:
        RunFolderError: There is a reason to keep it, or the disk refused.
    """
    if (why := why_kept(kept_run(folder))) is not None:
        raise RunFolderError(f"{folder}: {why}")
    return empty(folder)


def empty(folder: Path) -> bool:
    """Remove our own files of a folder, one by one by their names, and the folder if nothing else is in it.

    Args:
        folder: A folder of ours.

    Returns:
        Whether the folder has gone; False where it holds other files.

    Raises:
        RunFolderError: The disk refused.
    """
    try:
        for file in own_files(folder):
            Path(file.path).unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be removed ({reason(error)})") from None
    remove_if_empty(folder / READINGS)
    return remove_if_empty(folder)


def remove_if_empty(folder: Path) -> bool:
    """Remove a folder if nothing is in it, and return whether it has gone."""
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()
