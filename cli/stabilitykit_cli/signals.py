"""What ends a command from outside: each signal ends it as Ctrl-C does, and shows in the exit status."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_received: list[int] = []


class Ended(KeyboardInterrupt):
    """SIGTERM, or SIGHUP: raised where Ctrl-C would raise, so that what there is is written."""


@contextmanager
def heeded() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise ``Ended``, for a while; one that is ignored, as under nohup, stays so.

    A second one finds the system's own handling, which ends the process at once.
    """
    _received.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [each for each in _SIGNALS if signal.getsignal(each) is signal.SIG_DFL]
    try:
        for each in taken:
            signal.signal(each, _end)
        yield
    finally:
        for each in taken:
            if signal.getsignal(each) is _end:
                signal.signal(each, signal.SIG_DFL)


def status() -> int:
    """Return the exit status of a command that was interrupted: 143 by SIGTERM, 129 by SIGHUP, else 130."""
    return 128 + _received[0] if _received else 128 + signal.SIGINT


def _end(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    signal.signal(number, signal.SIG_DFL)
    raise Ended
