"""Runs on a Ray cluster: one that is started on this machine, or one that is running already."""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from stabilitykit.errors import ConfigError, StabilityKitError
from stabilitykit.lab.sweep.backends.needs import Needs, usable_cpus, usable_gpus
from stabilitykit.lab.sweep.backends.pool import Ended
from stabilitykit.lab.sweep.backends.remote import result_of, work
from stabilitykit.lab.sweep.job import Job

_STORE = 100 * 2**20
"""Bytes of Ray's object store, which holds results of a kilobyte."""


class RayPool:
    """Ray tasks, one a run. Ray tries none of them again: who uses the pool decides that.

    Args:
        needs: What a run takes.
        workers: Runs at a time; None for as many as the cluster has room for.
        address: A running cluster, or None to start one on this machine, for this pool alone.

    Raises:
        ConfigError: There is no cluster at the address, or no room in it for one run.
    """

    def __init__(self, needs: Needs, workers: int | None = None, address: str | None = None) -> None:
        self._owned = not ray.is_initialized()
        if self._owned:
            _start(needs, workers, address)
        elif address:
            raise ConfigError(f"backend.address: got {address}; this process is in a Ray cluster already")
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self.slots = workers or needs.room(has.get("CPU", 0), has.get("GPU", 0))
        # A cluster that grows on demand may have no room yet; it is given the number of workers.
        if not self.slots:
            self.close()
            raise ConfigError(
                f"backend.address: a run takes {needs.cpus} CPUs and {needs.gpus} GPUs; the cluster has "
                f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}"
            )
        self._task = ray.remote(work).options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=0, name="stabilitykit"
        )
        self._running: dict[Any, Job] = {}

    def submit(self, job: Job) -> None:
        """Hand a job to Ray."""
        self._running[self._task.remote(job, str(Path.cwd()))] = job

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return the jobs that have ended, waiting at most so long for the first of them."""
        if not self._running:
            return []
        references = list(self._running)
        ray.wait(references, timeout=seconds)
        done, _ = ray.wait(references, num_returns=len(references), timeout=0)
        return [self._ended(reference) for reference in done]

    def close(self) -> None:
        """Stop what still runs; end the cluster if it was started for this pool."""
        for reference in self.__dict__.pop("_running", {}):
            with suppress(RayError):
                ray.cancel(reference, force=True)
        if self._owned:
            ray.shutdown()

    def _ended(self, reference: Any) -> Ended:
        job = self._running.pop(reference)
        try:
            answer = ray.get(reference)
        except RayTaskError as error:
            cause = " ".join(f"{type(error.cause).__name__}: {error.cause}".split())
            raise StabilityKitError(f"{job.folder.name}: a Ray worker cannot train: {cause}") from error
        except RayError as error:
            return Ended(job, None, f"Ray lost it: {_first_line(error)}")
        return Ended(job, result_of(answer, job))


def _start(needs: Needs, workers: int | None, address: str | None) -> None:
    # A command that trains sends nothing to anybody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"backend.address: got {address}; no Ray cluster answers: {_first_line(error)} "
                "(one that asks for a token needs RAY_AUTH_MODE=token here as well)"
            ) from None
        return
    gpus = len(usable_gpus())
    runs = workers or needs.room(usable_cpus(), gpus)
    if needs.gpus * runs > gpus or not runs:
        raise ConfigError(
            f"backend.workers: {runs or 1} runs at a time take {needs.cpus * (runs or 1)} CPUs and "
            f"{needs.gpus * (runs or 1)} GPUs; this machine has {usable_cpus()} and {gpus}"
        )
    ray.init(
        address="local",
        num_cpus=runs * needs.cpus,
        num_gpus=runs * needs.gpus,
        include_dashboard=False,
        object_store_memory=_STORE,
        **quiet,
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
