"""Two processes that train together; a hang fails, and nothing is left behind."""

import logging
import os
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SIZE = 2


class Pair:
    """Two processes of one gloo group that do jobs; they meet in a file, so no port is taken.

    Args:
        folder: A new folder, for that file.
    """

    def __init__(self, folder: Path) -> None:
        context = get_context("spawn")
        self._ends, self._processes = [], []
        for rank in range(SIZE):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(rank, str(folder / "store"), theirs), daemon=True)
            process.start()
            self._ends.append(ours)
            self._processes.append(process)

    def run(self, job: Callable[..., Any], *args: Any, timeout: float = 100) -> list[Any]:
        """Return what a job returned on each rank; it is given the rank first.

        Raises:
            TimeoutError: A rank did not answer in time; both are ended.
            RuntimeError: A job raised; holds the traceback.
        """
        for end in self._ends:
            end.send((job, args))
        answers = []
        for rank, end in enumerate(self._ends):
            if not end.poll(timeout):
                self.close()
                raise TimeoutError(f"rank {rank} did not answer within {timeout} s")
            answers.append(end.recv())
        for good, answer in answers:
            if not good:
                raise RuntimeError(answer)
        return [answer for _, answer in answers]

    @property
    def is_alive(self) -> bool:
        """Whether jobs can be given."""
        return all(process.is_alive() for process in self._processes)

    def close(self) -> None:
        """End both processes."""
        for process in self._processes:
            process.kill()
            process.join()


def _work(rank: int, store: str, end: Connection) -> None:
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    # Of what torch.distributed is asked to do; a user may have made warnings errors.
    warnings.filterwarnings("error", category=FutureWarning, module=r"torch\.distributed")
    # Lightning takes these for torchrun's, and starts no processes of its own.
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(SIZE), "GROUP_RANK": "0"}
    os.environ |= {"TORCHELASTIC_RUN_ID": "pair", "LOCAL_WORLD_SIZE": str(SIZE)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=SIZE, timeout=timedelta(seconds=40)
    )
    while True:
        job, args = end.recv()
        try:
            end.send((True, job(rank, *args)))
        except Exception:
            end.send((False, traceback.format_exc()))
