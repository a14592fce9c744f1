"""Slurm jobs whose driver is gone: they would train beside those of the next one, in the same folders."""

import os
import shutil
import socket
import subprocess
from pathlib import Path


def driver_folder(logs: Path) -> Path:
    """Return the folder of this driver's jobs, which tells whose they are.

    Args:
        logs: Where all drivers of a sweep keep their files.
    """
    return logs / f"{socket.gethostname()}-{os.getpid()}"


def cancel_jobs_of_the_dead(logs: Path) -> None:
    """Cancel the jobs of drivers of this machine that run no more, and remove their files.

    Args:
        logs: Where all drivers of a sweep keep their files.
    """
    for folder in logs.glob(f"{socket.gethostname()}-*"):
        if _is_alive(folder.name.rpartition("-")[2]):
            continue
        # A job that ended well has left no file.
        jobs = [file.name.partition("_")[0] for file in folder.glob("*_submitted.pkl")]
        if jobs and shutil.which("scancel"):
            subprocess.run(["scancel", *jobs], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        # Somebody else's.
        return True
    return True
