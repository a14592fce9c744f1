"""Processes of this machine, one run at a time each. Torch is imported once a worker, not once a run."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection

from stabilitykit.experiments.backends.pool import Ended, Job
from stabilitykit.experiments.grid import CellResult


class LocalPool:
    """Worker processes that outlive their runs.

    Each is an executor of its own: where one process is killed the standard library gives up all processes
    of its executor, and here that is one.

    Args:
        workers: How many.
        threads: CPU threads that a run asks for.
    """

    def __init__(self, workers: int, threads: int = 1) -> None:
        self.slots = workers
        # Read when a worker first imports torch. Threads of two workers that spin for one core are slower.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._free = [_Worker() for _ in range(workers)]
        self._running: dict[Future[CellResult | None], tuple[_Worker, Job]] = {}

    def submit(self, job: Job) -> None:
        """Give a job to a free worker."""
        worker = self._free.pop()
        try:
            future = worker.submit(job)
        except BrokenProcessPool:
            # It was killed while it had nothing to do.
            worker.end()
            worker = _Worker()
            future = worker.submit(job)
        self._running[future] = worker, job

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return the jobs that have ended, waiting at most so long for the first of them."""
        ended = []
        for future in wait(self._running, seconds, FIRST_COMPLETED).done:
            worker, job = self._running.pop(future)
            try:
                ended.append(Ended(job, future.result()))
            except BrokenProcessPool:
                ended.append(Ended(job, None, "its process was killed"))
                worker.end()
                worker = _Worker()
            self._free.append(worker)
        return ended

    def close(self) -> None:
        """End all workers; a run that goes on is cut."""
        for worker in [*self._free, *(worker for worker, _ in self._running.values())]:
            worker.end()
        self._free, self._running = [], {}


class _Worker:
    """A process that works until it is told to end, or whoever started it is gone."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        watched, self._line = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(1, mp_context=context, initializer=_prepare, initargs=(watched,))

    def submit(self, job: Job) -> "Future[CellResult | None]":
        return self._executor.submit(_work, job)

    def end(self) -> None:
        self._line.close()
        self._executor.shutdown(wait=False, cancel_futures=True)


def _prepare(line: Connection) -> None:
    """Leave Ctrl-C to the parent, and end when its end of the line closes: it does so, or it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()


def _end_with(line: Connection) -> None:
    with suppress(EOFError, OSError):
        line.recv_bytes()
    os._exit(1)


def _work(job: Job) -> CellResult | None:
    # Imported here: the parent, which only plans, never loads torch.
    from stabilitykit.experiments.run_cell import run_cell

    return run_cell(job)
