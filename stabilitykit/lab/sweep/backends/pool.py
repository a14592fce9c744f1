"""What a backend is: something that takes jobs and tells, some time later, how they ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stabilitykit.lab.sweep.grid import CellResult
from stabilitykit.lab.sweep.job import Job


@dataclass(frozen=True)
class Ended:
    """A job that is over."""

    job: Job
    result: CellResult | None
    """How its cell ended; None where the worker was lost, or told to stop, before it had."""
    lost: str = ""
    """Why there is no result: what is known of the worker's end."""


class Pool(Protocol):
    """Workers that train cells, wherever they are. All train by ``run_cell`` and nothing else.

    So that results do not depend on the backend, a pool decides where and when a job runs and nothing of how.
    A lost worker costs its own job alone: the pool reports it, and goes on. Who uses it decides what is tried
    again.
    """

    slots: int
    """Jobs that can run at a time."""

    def submit(self, job: Job) -> None:
        """Take a job; not more than ``slots`` at a time."""

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return the jobs that have ended, waiting at most so long for the first of them.

        Raises:
            StabilityKitError: A job failed for a reason that concerns every other one, such as a full disk.
        """

    def close(self) -> None:
        """Stop what still runs, and give the workers back; cells that have not ended get no result."""
