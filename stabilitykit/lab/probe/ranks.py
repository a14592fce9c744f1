"""The processes of one run: started here, under any strategy of Lightning's, and ended together.

Lightning would start the others of ``ddp`` by repeating the command line, which in a worker is another
program's. Processes that find ``LOCAL_RANK`` set are taken as started by somebody else, and so they are.
"""

import multiprocessing
import os
import pickle
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from stabilitykit.errors import StabilityKitError
from stabilitykit.lab.probe.lifeline import ENDING, end_with

T = TypeVar("T")
_SECONDS = 5.0
"""What the first rank has to tell its own error, once another has failed."""


class RankLostError(Exception):
    """A process of a run was killed."""


class Rank:
    """What a process of a run knows of the others.

    Args:
        number: Its rank, from 0.
        line: To the one that started it.
    """

    def __init__(self, number: int, line: Connection) -> None:
        self.number = number
        self.told_to_stop = threading.Event()
        """Set once the run shall end; not on all ranks at the same step."""
        self._line = line

    def tell(self, message: Any) -> None:
        """Send something to the one that started the run."""
        self._line.send(("told", message))


def on_ranks(
    size: int,
    work: Callable[[Rank], T],
    heard: Callable[[Any], object],
    passed_on: Callable[[int], object] = lambda number: None,
) -> T:
    """Return what a function returns on the first of several processes.

    Where one fails, all end. Ctrl-C, SIGTERM and a closed terminal set ``told_to_stop`` on all of them; a
    second signal gets what was there before.

    Args:
        size: Processes.
        work: Called on each of them; like its result it must be something that pickles.
        heard: Called with what the ranks tell.
        passed_on: Called with the number of a signal once they were told to stop.

    Raises:
        RankLostError: A process was killed.
        Exception: What a rank raised, with its traceback as a note.
    """
    context, port = multiprocessing.get_context("spawn"), _free_port()
    lines: list[Connection] = []
    watching: list[Connection] = []
    processes = []
    try:
        for number in range(size):
            ours, theirs = context.Pipe()
            watched, line = context.Pipe(duplex=False)
            process = context.Process(target=_serve, args=(number, size, port, theirs, watched, work))
            process.start()
            theirs.close()
            watched.close()
            lines.append(ours)
            watching.append(line)
            processes.append(process)
        with _interrupts(watching, passed_on):
            result: T = _listen(lines, heard)
    except BaseException:
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            process.join()
        for line in (*lines, *watching):
            line.close()
    return result


def _listen(lines: list[Connection], heard: Callable[[Any], object]) -> Any:
    """Return the first rank's result once all have one."""
    results: dict[int, Any] = {}
    while len(results) < len(lines):
        for line in wait([line for number, line in enumerate(lines) if number not in results]):
            number = lines.index(line)  # type: ignore[arg-type]  # of lines, sockets and handles
            kind, content = _received(lines[number], number)
            if kind == "told":
                heard(content)
            elif kind == "returned":
                results[number] = content
            else:
                raise _cause(content, None if number == 0 else lines[0])
    return results[0]


def _received(line: Connection, number: int) -> tuple[str, Any]:
    try:
        kind, content = line.recv()
    except (EOFError, OSError):
        return "raised", RankLostError(f"rank {number} was killed")
    return kind, content


def _cause(error: Exception, first: Connection | None) -> Exception:
    """Return the first rank's own words, if it has some: the others may only have missed it."""
    while first is not None and first.poll(_SECONDS):
        kind, content = _received(first, 0)
        if kind != "told":
            return content if kind == "raised" and isinstance(content, StabilityKitError) else error
    return error


def _serve(
    number: int, size: int, port: int, line: Connection, watched: Connection, work: Callable[[Rank], Any]
) -> None:
    # A terminal's Ctrl-C reaches every process, each at another step: the starter passes it on.
    for each in ENDING:
        signal.signal(each, signal.SIG_DFL if each == signal.SIGTERM else signal.SIG_IGN)
    rank = Rank(number, line)
    end_with(watched, rank.told_to_stop.set)
    for name in ("NODE_RANK", "GROUP_RANK"):
        os.environ.pop(name, None)
    os.environ |= {"LOCAL_RANK": str(number), "RANK": str(number), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        line.send(("returned", work(rank)))
    except Exception as error:
        line.send(("raised", _sendable(error)))


def _sendable(error: Exception) -> Exception:
    trace = "".join(traceback.format_exception(error))
    error.__cause__ = error.__context__ = None
    with suppress(Exception):
        error.add_note(trace)
        pickle.loads(pickle.dumps(error))
        return error
    again = RuntimeError(f"{type(error).__name__}: {error}")
    again.add_note(trace)
    return again


@contextmanager
def _interrupts(lines: list[Connection], passed_on: Callable[[int], object]) -> Iterator[None]:
    """Let the next signal to end be passed on, where signals can be handled."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in ENDING}
    before = {each: handler for each, handler in before.items() if handler is not signal.SIG_IGN}

    def stop(number: int, frame: object) -> None:
        restore()
        passed_on(number)
        for line in lines:
            with suppress(OSError):
                line.send_bytes(b"stop")

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    for each in before:
        signal.signal(each, stop)
    try:
        yield
    finally:
        restore()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
