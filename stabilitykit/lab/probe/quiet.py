"""Lightning without its chatter, Ctrl-C without its exit, and torch with a fixed number of threads."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
import torch

from stabilitykit.lab.probe.lifeline import ENDING
from stabilitykit.live.callbacks import StabilityMonitor

_LOGGERS = ("lightning.pytorch", "lightning.fabric")
_WARNINGS = (
    ".*LeafSpec.*deprecated.*",
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*`srun` command is available.*",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Turn down Lightning's banners, tips and the warnings it raises about itself, for a while."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


class _Notices(logging.Handler):
    """Gives each log line to a function."""

    def __init__(self, notice: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._notice = notice

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on the line's text."""
        self._notice(record.getMessage())


@contextmanager
def log_to(notice: Callable[[str], None] | None) -> Iterator[None]:
    """Give stabilitykit's own warnings to a function instead of the log, for a while."""
    if notice is None:
        yield
        return
    logger, handler = logging.getLogger("stabilitykit"), _Notices(notice)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


@contextmanager
def one_thread_count(threads: int) -> Iterator[None]:
    """Let torch compute with this many threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def no_exit() -> Iterator[None]:
    """Let what interrupts a fit be raised as what it is: Lightning ends the process with a status of its own.

    Raises:
        KeyboardInterrupt: Ctrl-C, or what took its place, where Lightning raises ``SystemExit``.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        cause = ended.__context__
        raise (cause if isinstance(cause, KeyboardInterrupt) else KeyboardInterrupt()) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


class Interruptible(L.Callback):
    """Lets Ctrl-C and SIGTERM end a fit after the present step, as if it had reached its end.

    Lightning ends the process with ``SystemExit``, whose status after SIGTERM is 0; a second signal gets what
    was there before.
    """

    def __init__(self, monitor: StabilityMonitor) -> None:
        self._monitor = monitor
        self._before: dict[int, Any] = {}
        self.signal: int | None = None
        """The signal that ended the fit."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over; they can be handled in the main thread only.

        Lightning puts its own handlers in place after ``on_fit_start``.
        """
        if threading.current_thread() is not threading.main_thread():
            return

        def stop(number: int, frame: FrameType | None) -> None:
            self._monitor.interrupted = True
            self.signal = number
            trainer.should_stop = True
            # A second one is not a polite request.
            self._restore()

        for each in ENDING:
            if signal.getsignal(each) is not signal.SIG_IGN:
                self._before[each] = signal.signal(each, stop)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())


class StopTogether(L.Callback):
    """Lets a run of several processes end after the present step once any of them was told to.

    Args:
        monitor: Watches the run.
        told: Set on a process that was told to; the others may be a step ahead or behind.
    """

    def __init__(self, monitor: StabilityMonitor, told: threading.Event) -> None:
        self._monitor = monitor
        self._told = told

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take SIGTERM over: Lightning's handler would wait inside for processes that were sent none."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self._told.set())

    def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
        """Ask all processes: one that ended alone would leave the others waiting for it."""
        if trainer.strategy.reduce_boolean_decision(self._told.is_set(), all=False):
            self._monitor.interrupted = trainer.should_stop = True
