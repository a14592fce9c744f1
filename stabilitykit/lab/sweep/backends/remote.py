"""A job on another machine, and what its driver makes of the answer."""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from stabilitykit.errors import RunFolderError, StabilityKitError
from stabilitykit.lab.sweep.grid import CellResult, read_result
from stabilitykit.lab.sweep.job import Job

_PATIENCE = 30.0
"""Seconds after which a network's file system has shown what another machine wrote."""


@dataclass(frozen=True)
class Answer:
    """What a worker sends back."""

    result: CellResult | None = None
    error: str = ""
    """What concerns every other job as well."""


def work(job: Job, directory: str) -> Answer:
    """Train a cell where its driver would have done so.

    Args:
        job: What to train.
        directory: The driver's working directory: relative paths mean what they mean there.
    """
    # Read when a worker first imports torch.
    os.environ.setdefault("OMP_NUM_THREADS", str(job.spec.trainer.threads))
    try:
        os.chdir(directory)
    except OSError:
        return Answer(error=_not_shared(Path(directory)))
    if not job.folder.parent.is_dir():
        return Answer(error=_not_shared(job.folder.parent))
    from stabilitykit.lab.sweep.run_cell import run_cell

    try:
        return Answer(run_cell(job))
    except StabilityKitError as error:
        return Answer(error=f"{error} (on {socket.gethostname()})")


def result_of(answer: Answer, job: Job) -> CellResult | None:
    """Return the result that a worker sent, once the driver's disk has it as well.

    Raises:
        RunFolderError: The worker could not write, or writes where the driver cannot read.
    """
    if answer.error:
        raise RunFolderError(answer.error)
    until = time.monotonic() + _PATIENCE
    while answer.result is not None and read_result(job.folder) is None:
        if time.monotonic() > until:
            raise RunFolderError(
                f"{job.folder}: a worker has finished it, but it is not here; "
                "the runs' folder must be on a file system that all workers share"
            )
        time.sleep(0.2)
    return answer.result


def _not_shared(folder: Path) -> str:
    return (
        f"{folder}: is not there on the worker {socket.gethostname()}; "
        "the driver's working directory and the runs' folder must be on a file system that all workers share"
    )
