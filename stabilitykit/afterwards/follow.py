"""The diagnosis of a log that is still written: it goes on from where it stood."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from stabilitykit.afterwards.replay import (
    GUESSED,
    ColumnNames,
    Format,
    Replay,
    is_run,
    open_log,
    replay,
    source_of,
)
from stabilitykit.detect import Detector, all_detectors
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.errors import DataError, RunFolderError
from stabilitykit.figures import RunCurves
from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit.store import LogReading, Run, open_run


@dataclass(frozen=True, slots=True)
class News:
    """What became known since the last look."""

    changes: tuple[IncidentChange, ...] = ()
    """What happened to incidents."""
    anew: str | None = None
    """Why the log was judged anew from its beginning, where it was; ``changes`` begin there, too."""
    waiting: str | None = None
    """Why there is nothing to judge yet."""
    finished: bool = False
    """Whether the run is known to have ended."""


class Follow:
    """A growing log and its diagnosis so far. Whoever uses it decides when to look, and when to end.

    Args:
        path: A run's folder, anybody's log, or a folder with one log in it.
        format: What it is; found out unless given.
        names: Names of the log's columns, where they shall not be guessed.
        detectors: Detectors of the user's own, beside the built-in ones: new ones, as in the live run.

    Raises:
        DataError: There is no such file or folder, or it can never be followed.
        ConfigError: An argument does not fit the log.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        format: Format = "auto",
        names: ColumnNames = GUESSED,
        detectors: Sequence[Detector] = (),
    ) -> None:
        self.path = Path(path)
        self._format, self._names, self._detectors = format, names, detectors
        self._is_run = is_run(self.path, format)
        if self._is_run:
            names.check_unused(self.path)
        self._growing: _Growing | None = None
        self._diagnosis, self._curves = Diagnosis(), RunCurves()

    def look(self) -> News:
        """Judge what was written since the last look; what cannot be read now may be by the next one."""
        try:
            return self._looked()
        except (DataError, RunFolderError) as error:
            self._growing = None
            return News(waiting=str(error))

    def _looked(self) -> News:
        anew = None
        if self._growing is not None and (anew := self._growing.outdated()) is not None:
            self._growing.close()
            self._growing = None
        if self._growing is None:
            try:
                self._growing = self._begun()
            except (DataError, RunFolderError) as error:
                return News(anew=anew, waiting=str(error))
        return News(tuple(self._judged(self._growing.more())), anew, finished=self._growing.finished)

    def end(self) -> Replay:
        """Return the diagnosis of all that was written; ``complete`` is false unless the run has ended.

        Raises:
            DataError: There was nothing to judge.
        """
        if self._is_run:
            # A run may have been resumed between two looks.
            return replay(self.path, detectors=copy.deepcopy(self._detectors))
        self.look()
        if self._growing is None:
            # Too little of it to follow may be enough to judge.
            ended = replay(self.path, format=self._format, names=self._names, detectors=self._detectors)
            return replace(ended, verdict=replace(ended.verdict, complete=False))
        if self._growing.outdated() is not None:
            # What the last look saw made it so: a step back.
            self.look()
        for _ in self._judged(self._growing.end()):
            pass
        self._growing.close()
        verdict = self._diagnosis.verdict(complete=False)
        if not verdict.steps:
            raise DataError(f"{self.path}: no step has a loss")
        return Replay(verdict, self._growing.source, self._growing.notes, self._curves)

    def _begun(self) -> "_Growing":
        # Detectors remember what they saw: each beginning has new ones.
        self._diagnosis = Diagnosis(all_detectors(copy.deepcopy(self._detectors)))
        self._curves = RunCurves()
        if self._is_run:
            return _GrowingRun(self.path)
        return _GrowingLog(open_log(self.path, self._format, self._names, growing=True))

    def _judged(self, records: Iterable[StepRecord]) -> Iterator[IncidentChange]:
        for record in records:
            self._curves.add(record)
            yield from self._diagnosis.update(record)


class _Growing(Protocol):
    source: str

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def finished(self) -> bool: ...

    def outdated(self) -> str | None:
        """Return why what was read no longer holds, or None."""

    def more(self) -> Iterator[StepRecord]:
        """Yield the records that came since."""

    def end(self) -> Iterator[StepRecord]:
        """Yield what was held back."""

    def close(self) -> None: ...


class _GrowingLog:
    """Anybody's log."""

    finished = False

    def __init__(self, log: LogReading) -> None:
        self._log = log
        self._went_back: int | None = None
        self.source = source_of(log)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._log.notes

    def outdated(self) -> str | None:
        if self._log.replaced:
            return "it was replaced, cut or written anew"
        # What goes back farther than can be held is the same at every reading.
        if self._went_back is not None and self._log.went_back > self._went_back:
            return "it went back to an earlier step"
        return None

    def more(self) -> Iterator[StepRecord]:
        yield from self._log.more()
        if self._went_back is None:
            self._went_back = self._log.went_back

    def end(self) -> Iterator[StepRecord]:
        yield from self._log.end()

    def close(self) -> None:
        self._log.close()


class _GrowingRun:
    """A run's folder."""

    source = "run folder"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: Run = open_run(folder)
        self._last = -1

    @property
    def notes(self) -> tuple[str, ...]:
        return self._run.notes

    @property
    def finished(self) -> bool:
        return self._run.verdict is not None

    def outdated(self) -> str | None:
        self._run = open_run(self._folder)
        last = self._run.last_step
        return (
            "the run was taken up again at an earlier step"
            if last is not None and last < self._last
            else None
        )

    def more(self) -> Iterator[StepRecord]:
        for record in self._run.records(after=self._last):
            self._last = record.step
            yield record

    def end(self) -> Iterator[StepRecord]:
        yield from ()

    def close(self) -> None:
        """Nothing is held open."""
