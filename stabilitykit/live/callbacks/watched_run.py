"""What the callbacks of every trainer share: their arguments, and what they say of the run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from stabilitykit.live.callbacks.run_folders import Place
from stabilitykit.live.monitor import Monitor
from stabilitykit.live.options import WatchKeywords, WatchOptions
from stabilitykit.observe import Coverage
from stabilitykit.records import Incident, StepRecord, Verdict

log = logging.getLogger("stabilitykit")


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Run what a trainer's own objects take part in so that its errors do not reach training.

    Args:
        what: What it is about, for the line in the log.
    """
    try:
        yield
    except Exception as error:  # A trainer, its loggers and what a training step returns may be anything.
        log.warning("%s: %s: %s; training goes on", what, type(error).__name__, error)


class WatchedRun:
    """A run that a callback watches.

    Args:
        logdir: Folder of the run, new or empty, instead of the default one.
        **options: How it is watched: the fields of ``WatchOptions``.

    Raises:
        ConfigError: An argument is not accepted.
    """

    interrupted = False
    """Set it to mark the run as not complete when it ends."""

    def __init__(self, *, logdir: str | Path | None = None, **options: Unpack[WatchKeywords]) -> None:
        self._logdir = Path(logdir) if logdir else None
        self._options = WatchOptions(**options).checked()
        self._monitor: Monitor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings alone: copies and pickles of a callback watch nothing yet."""
        return {"_logdir": self._logdir, "_options": self._options, "_monitor": None}

    @property
    def folder(self) -> Path | None:
        """Where the run is kept."""
        return self._monitor.folder if self._monitor else self._logdir

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents so far."""
        return self._monitor.incidents if self._monitor else ()

    @property
    def disk_failed(self) -> bool:
        """Whether the run could not be kept to its end."""
        return self._monitor is not None and self._monitor.disk_failed

    @property
    def host_reads(self) -> int:
        """How often anything was read from the device."""
        return self._watching().host_reads

    def latest(self) -> StepRecord | None:
        """Return the newest step record, or None before the first."""
        return self._monitor.latest() if self._monitor else None

    def verdict(self) -> Verdict:
        """Return how the run stands."""
        return self._watching().verdict(complete=not self.interrupted)

    def summary(self) -> dict[str, Any]:
        """Return the run's JSON document: verdict, incidents, final and best loss."""
        return self._watching().summary(complete=not self.interrupted)

    def coverage(self) -> list[Coverage]:
        """Return what is watched and how: one row a site."""
        return self._watching().coverage()

    def _keeping(self, place: Place) -> dict[str, Any]:
        """Return the monitor's arguments with which the run is kept in a place."""
        options = self._options
        if place.continues:
            options = replace(options, config={**options.config, "continues": place.continues})
        return {**options.keywords(), "folder": place.folder, "resume": place.resume, "beside": True}

    def _watching(self) -> Monitor:
        if self._monitor is None:
            name = type(self).__name__
            raise RuntimeError(f"{name} has seen no training yet: fit a Trainer with it first")
        return self._monitor
