"""Many logs read on all cores: the same function on each, results in the order of the logs."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stabilitykit.errors import StabilityKitError

if TYPE_CHECKING:
    from stabilitykit.afterwards.replay import Replay

MANY = 256
"""Logs from which on processes are worth their start."""
_AHEAD = 4
"""Pieces of work a process that are handed out before the first of them is taken back."""
_PIECE = 8
"""Logs in a piece of work."""


def read_one(path: Path, settings: dict[str, Any]) -> "Replay | StabilityKitError":
    """Return the diagnosis of a log, or what is wrong with it."""
    from stabilitykit.afterwards.replay import replay

    try:
        return replay(path, **settings)
    except StabilityKitError as error:
        return error


def read_many(paths: Sequence[Path], settings: dict[str, Any]) -> "Iterator[Replay | StabilityKitError]":
    """Yield what ``read_one`` returns for each log, in their order, from processes where there are many.

    What is read ahead is bounded. Where a process is killed, the rest is read here.

    Args:
        paths: Logs.
        settings: How each shall be read.
    """
    workers = min(_cores(), 4 * len(paths) // MANY)
    done = 0
    if len(paths) >= MANY and workers > 1:
        try:
            for each in _read_apart(paths, settings, workers):
                done += 1
                yield each
        except BrokenProcessPool:
            pass
    for path in paths[done:]:
        yield read_one(path, settings)


def _read_apart(
    paths: Sequence[Path], settings: dict[str, Any], workers: int
) -> "Iterator[Replay | StabilityKitError]":
    pieces = [paths[at : at + _PIECE] for at in range(0, len(paths), _PIECE)]
    with _processes(workers) as executor:
        waiting: list[Future[list[Any]]] = []
        for piece in pieces:
            waiting.append(executor.submit(_read_piece, piece, settings))
            if len(waiting) >= _AHEAD * workers:
                yield from waiting.pop(0).result()
        for future in waiting:
            yield from future.result()


def _read_piece(paths: Sequence[Path], settings: dict[str, Any]) -> "list[Replay | StabilityKitError]":
    return [read_one(path, settings) for path in paths]


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield processes that end with this one, or at once where it stops waiting for them."""
    context = multiprocessing.get_context("spawn")
    watched, line = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(workers, context, _prepare, (watched,))
    try:
        yield executor
    finally:
        # However it ends: nobody waits for what is still being read.
        line.close()
        executor.shutdown(wait=False, cancel_futures=True)


def _prepare(line: Connection) -> None:
    from stabilitykit.lab.probe.lifeline import leave_signals_to_starter

    leave_signals_to_starter(line)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
