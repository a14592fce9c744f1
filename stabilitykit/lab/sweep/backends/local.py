"""Processes of this machine, one run at a time each. Torch is imported once a worker, not once a run."""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection

from stabilitykit.lab.probe.lifeline import leave_signals_to_starter
from stabilitykit.lab.sweep.backends.needs import share_of_gpus
from stabilitykit.lab.sweep.backends.pool import Ended
from stabilitykit.lab.sweep.grid import CellResult
from stabilitykit.lab.sweep.job import Job


class LocalPool:
    """Worker processes that outlive their runs.

    Each is an executor of its own: where one process is killed the standard library gives up all processes
    of its executor, and here that is one.

    Args:
        workers: How many.
        gpus: GPUs that a run takes. Each worker sees so many of this machine's, in turn; with 0 all of them.
    """

    def __init__(self, workers: int, gpus: int = 0) -> None:
        self.slots = workers
        self._free = [_Worker(share_of_gpus(number, gpus)) for number in range(workers)]
        self._running: dict[Future[CellResult | None], tuple[_Worker, Job]] = {}

    def submit(self, job: Job) -> None:
        """Give a job to a free worker."""
        worker = self._free.pop()
        try:
            future = worker.submit(job)
        except BrokenProcessPool:
            # It was killed while it had nothing to do.
            worker = worker.replaced()
            future = worker.submit(job)
        self._running[future] = worker, job

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return the jobs that have ended, waiting at most so long for the first of them."""
        ended = []
        for future in wait(self._running, seconds, FIRST_COMPLETED).done:
            worker, job = self._running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                ended.append(Ended(job, None, "its process was killed"))
                worker = worker.replaced()
            elif isinstance(error, SystemExit | KeyboardInterrupt):
                # What ends a worker must not end whoever waits for it.
                ended.append(Ended(job, None, "its process was told to end"))
                worker = worker.replaced()
            else:
                ended.append(Ended(job, future.result()))
            self._free.append(worker)
        return ended

    def close(self) -> None:
        """End all workers; a run that goes on is cut."""
        for worker in [*self._free, *(worker for worker, _ in self._running.values())]:
            worker.end()
        self._free, self._running = [], {}


class _Worker:
    """A process that works until it is told to end, or whoever started it is gone."""

    def __init__(self, gpus: tuple[str, ...]) -> None:
        self._gpus = gpus
        context = multiprocessing.get_context("spawn")
        watched, self._line = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(1, context, _prepare, (watched, gpus))

    def submit(self, job: Job) -> "Future[CellResult | None]":
        return self._executor.submit(_work, job)

    def replaced(self) -> "_Worker":
        self.end()
        return _Worker(self._gpus)

    def end(self) -> None:
        self._line.close()
        self._executor.shutdown(wait=False, cancel_futures=True)


def _prepare(line: Connection, gpus: tuple[str, ...]) -> None:
    """Leave what a terminal sends to the parent, and end when its end of the line closes: it may be gone."""
    leave_signals_to_starter(line)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)


def _work(job: Job) -> CellResult | None:
    # Read when a worker first imports torch: threads of two workers that spin for one core are slower.
    os.environ.setdefault("OMP_NUM_THREADS", str(job.spec.trainer.threads))
    # Imported here: the parent, which only plans, never loads torch.
    from stabilitykit.lab.sweep.run_cell import run_cell

    return run_cell(job)
