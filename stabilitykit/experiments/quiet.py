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

from stabilitykit.callbacks import StabilityMonitor

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


class Interruptible(L.Callback):
    """Lets Ctrl-C end a fit after the present step, as if it had reached its end.

    Lightning's own handling ends the process with ``SystemExit(1)``; a second Ctrl-C gets that.
    """

    def __init__(self, monitor: StabilityMonitor) -> None:
        self._monitor = monitor
        self._before: Any = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over SIGINT; signals can be handled in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            return

        def stop(number: int, frame: FrameType | None) -> None:
            self._monitor.interrupted = True
            trainer.should_stop = True
            # A second Ctrl-C is not a polite request.
            self._restore()

        self._before = signal.signal(signal.SIGINT, stop)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give SIGINT back."""
        self._restore()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Give SIGINT back."""
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


class StopTogether(L.Callback):
    """Lets a run of several processes end after the present step once any of them was told to.

    Args:
        monitor: Watches the run.
        told: Set on a process that was told to; the others may be a step ahead or behind.
    """

    def __init__(self, monitor: StabilityMonitor, told: threading.Event) -> None:
        self._monitor = monitor
        self._told = told

    def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
        """Ask all processes: one that ended alone would leave the others waiting for it."""
        if trainer.strategy.reduce_boolean_decision(self._told.is_set(), all=False):
            self._monitor.interrupted = trainer.should_stop = True
