"""A line from a process to the one that started it: where it breaks, whoever held it is gone."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a run to end: Ctrl-C, whoever shuts down, a terminal that was closed."""


def end_with(line: Connection, told: Callable[[], object] | None = None) -> None:
    """End this process as soon as the other end of a line is closed, even by ``kill -9``.

    Args:
        line: The end to listen at; the starter alone holds the other one.
        told: Called, in a thread, when the starter sends something.
    """
    threading.Thread(target=_listen, args=(line, told), daemon=True).start()


def leave_signals_to_starter(line: Connection) -> None:
    """Leave what a terminal sends to whoever started this process, and end when that one's line closes.

    Args:
        line: The end to listen at; the starter alone holds the other one.
    """
    for each in ENDING:
        signal.signal(each, signal.SIG_DFL if each == signal.SIGTERM else signal.SIG_IGN)
    end_with(line)


def _listen(line: Connection, told: Callable[[], object] | None) -> None:
    with suppress(EOFError, OSError):
        while True:
            line.recv_bytes()
            if told:
                told()
    os._exit(1)
