"""Slurm jobs whose driver is gone: they would train beside those of the next one, in the same folders.

The folder for logs may be anybody's, so a driver's folder in it is known by more than its name: it holds a
file that says whose it is. What is removed there are the files that submitit makes, one by one, and then the
folder if nothing else is in it.
"""

import json
import os
import re
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from stabilitykit.store.contents import entries
from stabilitykit.store.disk import read_file, replace_file
from stabilitykit.store.removal import remove_if_empty

_MARK = "stabilitykit-driver.json"
_SUBMITTED = re.compile(r"(?P<job>\d+)_submitted\.pkl")
# Of a job, and what submitit renames once it knows the job's number.
_OF_SUBMITIT = re.compile(
    r"\d+_(submitted\.pkl|submission\.sh|\d+_(result\.pkl(\.save_tmp)?|log\.(err|out)))|"
    r"\.submission_file_[0-9a-f]{32}\.sh|[0-9a-f]{32}\.pkl"
)


def make_driver_folder(logs: Path) -> Path:
    """Make a folder for this driver's jobs, which tells whose they are.

    Args:
        logs: Where all drivers of a sweep keep their files.

    Raises:
        OSError: It cannot be written.
    """
    logs.mkdir(parents=True, exist_ok=True)
    name, number = f"{socket.gethostname()}-{os.getpid()}", 1
    while True:
        folder = logs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            replace_file(folder / _MARK, json.dumps(_mark(os.getpid())) + "\n")
            return folder


def cancel_jobs_of_the_dead(logs: Path) -> None:
    """Cancel the jobs of drivers of this machine that run no more, and remove their files.

    Args:
        logs: Where all drivers of a sweep keep their files.
    """
    for entry in entries(logs):
        folder = logs / entry.name
        driver = _driver_of(folder) if entry.is_dir(follow_symlinks=False) else None
        if driver is None or _is_alive(driver):
            continue
        # A job that ended well has left no file.
        found = (_SUBMITTED.fullmatch(each.name) for each in entries(folder))
        jobs = [match["job"] for match in found if match]
        if jobs and shutil.which("scancel"):
            subprocess.run(["scancel", *jobs], check=False, capture_output=True)
        remove_driver_folder(folder)


def remove_driver_folder(folder: Path) -> None:
    """Remove a driver's files and, if nothing else is in it, its folder; nothing where it has no mark."""
    if _driver_of(folder) is None:
        return
    for each in entries(folder):
        if _OF_SUBMITIT.fullmatch(each.name) and not each.is_dir(follow_symlinks=False):
            with suppress(OSError):
                (folder / each.name).unlink()
    if {each.name for each in entries(folder)} == {_MARK}:
        with suppress(OSError):
            (folder / _MARK).unlink()
        remove_if_empty(folder)


def _mark(process: int) -> dict[str, object]:
    return {"written_by": "stabilitykit sweep", "host": socket.gethostname(), "process": process}


def _driver_of(folder: Path) -> int | None:
    """Return the process that made a folder for its jobs on this machine, by the folder's mark."""
    try:
        document = json.loads(read_file(folder / _MARK))
        process = int(document["process"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return process if document == _mark(process) else None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        # Somebody else's.
        return True
    return True
