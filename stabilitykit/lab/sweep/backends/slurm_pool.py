"""Runs as jobs of Slurm, by submitit, whose local executor starts the same as processes of this machine."""

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmInfoWatcher

from stabilitykit.errors import ConfigError, RunFolderError, StabilityKitError
from stabilitykit.lab.sweep.backends.config import BackendConfig
from stabilitykit.lab.sweep.backends.needs import Needs
from stabilitykit.lab.sweep.backends.orphans import (
    cancel_jobs_of_the_dead,
    make_driver_folder,
    remove_driver_folder,
)
from stabilitykit.lab.sweep.backends.pool import Ended
from stabilitykit.lab.sweep.backends.remote import Answer, result_of, work
from stabilitykit.lab.sweep.job import Job
from stabilitykit.store.disk import reason

LOGS = ".slurm"
"""Folder of submitit's files, beside the runs."""
_SLOTS = 32
_GRACE = {"slurm": 15.0, "local": 0.5}
"""Seconds that an answer may take to turn up once its job has ended."""
_ACCOUNTING_SECONDS = 60
"""Slurm is asked that often how its jobs are; the answer of one that ends well is seen at once."""
_POLL_SECONDS = 0.2


@dataclass
class _Submitted:
    job: Job
    handle: Any
    gone_since: float | None = None
    """When it was first seen to have ended without an answer."""


class SlurmPool:
    """Slurm jobs, one a run, that are asked for as earlier ones end.

    Nothing is tried again but by who uses the pool: Slurm is told to put no job back into its queue. Jobs of
    a driver that was killed are cancelled when the next one starts on the same machine and folder.

    Args:
        needs: What a run takes.
        config: How jobs are asked for.

    Raises:
        ConfigError: There is no Slurm here.
    """

    def __init__(self, needs: Needs, config: BackendConfig) -> None:
        self.slots = config.workers or _SLOTS
        self._needs = needs
        self._config = config
        self._executor: Any = None
        self._folder: Path | None = None
        self._running: list[_Submitted] = []
        self._has_lost = False
        if config.executor == "slurm" and submitit.SlurmExecutor.affinity() <= 0:
            raise ConfigError(
                "backend.executor: got slurm; no srun on this machine, which must be one that can submit jobs"
                " (executor=local tries it out without Slurm)"
            )

    def submit(self, job: Job) -> None:
        """Ask for a job.

        Raises:
            ConfigError: Slurm refuses it, as with an unknown partition.
            RunFolderError: submitit's files cannot be written.
        """
        try:
            if self._executor is None:
                logs = self._config.logs or job.folder.parent / LOGS
                cancel_jobs_of_the_dead(logs)
                self._folder = make_driver_folder(logs)
                self._executor = self._start(self._folder)
            handle = self._executor.submit(_run, job, str(Path.cwd()))
        except FailedSubmissionError as error:
            raise ConfigError(f"backend: Slurm refuses a job: {' '.join(str(error).split())}") from None
        except OSError as error:
            raise RunFolderError(f"{self._config.logs or job.folder.parent}: {reason(error)}") from None
        self._running.append(_Submitted(job, handle))

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return the jobs that have ended, waiting at most so long for the first of them."""
        until = time.monotonic() + seconds
        while True:
            ended = [found for each in list(self._running) if (found := self._look(each))]
            rest = until - time.monotonic()
            if ended or not self._running or rest <= 0:
                return ended
            time.sleep(min(_POLL_SECONDS, rest))

    def close(self) -> None:
        """Cancel what still runs or waits in the queue."""
        running, self._running = self._running, []
        for each in running:
            each.handle.cancel(check=False)
        until = time.monotonic() + 5 * (self._config.executor == "local")
        while time.monotonic() < until and not all(each.handle.done() for each in running):
            time.sleep(0.05)
        if self._folder is not None and not self._has_lost:
            remove_driver_folder(self._folder)

    def _start(self, folder: Path) -> Any:
        config = self._config
        executor = submitit.AutoExecutor(folder=folder, cluster=config.executor, slurm_max_num_timeout=0)
        executor.update_parameters(
            name="stabilitykit",
            timeout_min=config.minutes,
            nodes=1,
            tasks_per_node=1,
            cpus_per_task=self._needs.cpus,
            **({"gpus_per_node": self._needs.gpus} if self._needs.gpus else {}),
            **({"mem_gb": config.memory_gb} if config.memory_gb else {}),
        )
        if config.executor == "slurm":
            # What Slurm put back into its queue would run beside what the pool's user tries again.
            parameters = {"no-requeue": True, **config.sbatch}
            executor.update_parameters(slurm_additional_parameters=parameters)
            submitit.SlurmJob.watcher = SlurmInfoWatcher(delay_s=_ACCOUNTING_SECONDS)
        return executor

    def _look(self, each: _Submitted) -> Ended | None:
        if not each.handle.done() and not self._is_preempted(each):
            return None
        answered = each.handle.paths.result_pickle.exists()
        if not answered:
            each.gone_since = each.gone_since or time.monotonic()
            if time.monotonic() - each.gone_since < _GRACE[self._config.executor]:
                return None
        self._running.remove(each)
        if not answered:
            self._has_lost = True
            logs = each.handle.paths.stderr
            return Ended(each.job, None, f"job {each.handle.job_id} ended as {each.handle.state}; see {logs}")
        try:
            answer = each.handle.result()
        except FailedJobError as error:
            raise StabilityKitError(
                f"{each.job.folder.name}: a Slurm job cannot train: {_cause(error)}; "
                f"see {each.handle.paths.stderr}"
            ) from error
        result = result_of(answer, each.job)
        _forget(each.handle.paths)
        return Ended(each.job, result)

    def _is_preempted(self, each: _Submitted) -> bool:
        """Return what submitit takes for a pause: without a second queueing it is the end."""
        if self._config.executor == "local":
            return False
        state: str = each.handle.watcher.get_state(each.handle.job_id, mode="cache")
        return state == "PREEMPTED"


def _run(job: Job, directory: str) -> Answer:
    # Otherwise submitit raises an exception inside the run shortly before Slurm ends it, which would look as
    # if training had failed.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    # What is cancelled ends; submitit passes this over.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return work(job, directory)


def _cause(error: FailedJobError) -> str:
    """Return the last line of the traceback that submitit put between two rules."""
    return [line for line in str(error).split("-" * 22)[1].splitlines() if line.strip()][-1].strip()


def _forget(paths: Any) -> None:
    """Remove what submitit keeps of a job that ended well: five files a run are many in 10,000."""
    for name in ("submitted_pickle", "result_pickle", "submission_file", "stdout", "stderr"):
        with suppress(OSError):
            getattr(paths, name).unlink()
