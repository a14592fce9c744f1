"""What the callbacks of every trainer share: their arguments, and what they say of the run."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stabilitykit.detect import Detector
from stabilitykit.live.cadence import cadence
from stabilitykit.live.callbacks.run_folders import Place
from stabilitykit.live.monitor import Monitor, Sink
from stabilitykit.live.reactions import Policy, reactions
from stabilitykit.observe import Coverage, SiteRules, Statistic
from stabilitykit.records import Incident, StepRecord, Verdict
from stabilitykit.store import FOLDER_MB, check_folder_mb

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
        every_n_steps: Observe every n-th optimizer step.
        on_incident: ``"log"``, ``"stop"`` (the trainer stops), ``"raise"``, a function of the incident, a
            ``Command``, a ``WebAddress``, or a list of these.
        logdir: Folder of the run, new or empty, instead of the default one.
        sites: Sites to add, rename and leave out: rules, or the path of a YAML file of them.
        statistics: Statistics of the user's own, beside the built-in ones.
        detectors: Detectors of the user's own, beside the built-in ones.
        sinks: Told of every step as well.
        config: What is written to the run's ``config.yaml``.
        budget: Share of the time that observing may take, such as 0.02: the cadence then follows what is
            measured, and is recorded as ``monitor/every_n_steps``. None for no limit.
        folder_mb: What the folder may take, in megabytes, from 1 on: the oldest steps are thinned to stay
            within it; infinity keeps every step.

    Raises:
        ConfigError: An argument is not accepted.
    """

    interrupted = False
    """Set it to mark the run as not complete when it ends."""

    def __init__(
        self,
        every_n_steps: int = 1,
        on_incident: Policy = "log",
        logdir: str | Path | None = None,
        sites: SiteRules | str | Path | Mapping[str, Any] | None = None,
        statistics: Sequence[Statistic] = (),
        detectors: Sequence[Detector] = (),
        sinks: Sequence[Sink] = (),
        config: Mapping[str, Any] | None = None,
        budget: float | None = None,
        folder_mb: float = FOLDER_MB,
    ) -> None:
        cadence(every_n_steps, budget)
        reactions(on_incident)
        check_folder_mb(folder_mb)
        self._logdir = Path(logdir) if logdir else None
        self._options: dict[str, Any] = {
            "every_n_steps": every_n_steps,
            "budget": budget,
            "on_incident": on_incident,
            "sites": SiteRules.of(sites),
            "statistics": tuple(statistics),
            "detectors": tuple(detectors),
            "sinks": tuple(sinks),
            "config": dict(config or {}),
            "folder_mb": folder_mb,
        }
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
        own = self._options
        config = {**own["config"], "continues": place.continues} if place.continues else own["config"]
        more = {"folder": place.folder, "resume": place.resume, "beside": True, "config": config}
        return {**own, **more}

    def _watching(self) -> Monitor:
        if self._monitor is None:
            name = type(self).__name__
            raise RuntimeError(f"{name} has seen no training yet: fit a Trainer with it first")
        return self._monitor
