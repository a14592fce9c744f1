"""Afterwards: logs in, verdict out. What ``diagnose`` runs; no torch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stabilitykit.detect import Detector, all_detectors
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.errors import ConfigError, DataError
from stabilitykit.figures import RunCurves
from stabilitykit.records import StepRecord, Verdict
from stabilitykit.store import FileSource, LogReading, NoLossError, Run, find_logs, is_run_folder, open_run
from stabilitykit.store.event_names import event_files

Format = Literal["auto", "run", "csv", "jsonl", "trainer_state", "json", "notebook", "text", "tensorboard"]
"""What a log can be."""

_COLUMNS = 8
"""Columns listed at most."""
_REPORTED = 1_000
"""Records from one report of progress to the next."""


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """Names of a log's columns, where they shall not be guessed."""

    loss: str | None = None
    step: str | None = None
    grad_norm: str | None = None
    lr: str | None = None

    def given(self) -> dict[str, str | None]:
        """Return them by tag."""
        return {
            "train/loss": self.loss,
            "step": self.step,
            "optim/grad_norm": self.grad_norm,
            "optim/lr": self.lr,
        }

    def check_unused(self, path: Path) -> None:
        """Refuse names for a run's folder, which has its own.

        Raises:
            ConfigError: One was given.
        """
        for what in ("loss", "step", "grad_norm", "lr"):
            if (name := getattr(self, what)) is not None:
                raise ConfigError(
                    f"{what}: got {name!r}; a run's folder names its own, so leave it out for {path}"
                )


GUESSED = ColumnNames()
"""None is given: all are found by name."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The diagnosis of one log."""

    verdict: Verdict
    source: str
    """What was read, and which columns were taken."""
    notes: tuple[str, ...]
    """What was damaged or passed over."""
    curves: RunCurves = field(default_factory=RunCurves)
    """The loss and the gradient norm, to be drawn."""


def diagnose(
    path: str | Path,
    *,
    format: Format = "auto",
    loss: str | None = None,
    step: str | None = None,
    grad_norm: str | None = None,
    lr: str | None = None,
    detectors: Sequence[Detector] = (),
    readers: Sequence[type[FileSource]] = (),
) -> Verdict:
    """Return the verdict of a finished run, with its incidents.

    Args:
        path: A run's folder, anybody's log, or a folder with one log in it.
        format: What it is; found out unless given.
        loss: Name of the loss in the log; found by name unless given, as are the others.
        step: Name of the steps.
        grad_norm: Name of the gradient norm.
        lr: Name of the learning rate.
        detectors: Detectors of the user's own, beside the built-in ones: new ones, as in the live run.
        readers: Formats of logs of the user's own, asked before the built-in ones.

    Raises:
        DataError: The log cannot be used.
        RunFolderError: It is a run's folder of a newer version.
        ConfigError: An argument does not fit the log.
    """
    names = ColumnNames(loss, step, grad_norm, lr)
    return replay(path, format=format, names=names, detectors=detectors, readers=readers).verdict


def replay(
    path: str | Path,
    *,
    format: Format = "auto",
    names: ColumnNames = GUESSED,
    detectors: Sequence[Detector] = (),
    readers: Sequence[type[FileSource]] = (),
    on_progress: Callable[[float], None] | None = None,
) -> Replay:
    """Run the diagnosis over a log: on a run's folder it gives exactly the incidents of the live run.

    Args:
        path: A run's folder, anybody's log, or a folder with one log in it.
        format: What it is; found out unless given.
        names: Names of the log's columns, where they shall not be guessed.
        detectors: Detectors of the user's own, beside the built-in ones: new ones, as in the live run.
        readers: Formats of logs of the user's own, asked before the built-in ones.
        on_progress: Called now and then with the share that was read, from 0 to 1; not for a run's folder.

    Raises:
        DataError: The log cannot be used.
        RunFolderError: It is a run's folder of a newer version.
        ConfigError: An argument does not fit the log.
    """
    path, diagnosis = Path(path), Diagnosis(all_detectors(detectors))
    if is_run(path, format):
        names.check_unused(path)
        return _replay_folder(path, diagnosis)
    log = open_log(path, format, names, readers=readers)
    records = log.records if on_progress is None else _reported(log, on_progress)
    curves = RunCurves()
    verdict = _verdict(diagnosis, records, curves)
    return Replay(verdict, source_of(log), log.notes, curves)


def is_run(path: Path, format: Format) -> bool:
    """Return whether a path is a run's folder.

    Args:
        path: A path.
        format: What it was said to be.

    Raises:
        DataError: There is nothing, or it is no run's folder though it was said to be.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    found = is_run_folder(path)
    if format == "run" and not found:
        raise DataError(f"{path}: not a run's folder; give a folder that stabilitykit wrote")
    return found and format in ("auto", "run")


def open_log(
    path: Path,
    format: Format,
    names: ColumnNames,
    growing: bool = False,
    readers: Sequence[type[FileSource]] = (),
) -> LogReading:
    """Return anybody's log; of a folder, the only one in it.

    Args:
        path: A file or a folder.
        format: What it is; found out unless given.
        names: Names of its columns, where they shall not be guessed.
        growing: Whether it may grow.
        readers: Formats of the user's own.

    Raises:
        DataError: There is none, or more than one, or it cannot be used.
    """
    asked = None if format == "auto" or format == "run" else format
    if not path.is_dir() or event_files(path):
        return LogReading(path, names.given(), asked, growing, readers)
    logs = []
    for each in find_logs(path).paths:
        try:
            logs.append(LogReading(each, names.given(), asked, growing, readers))
        except NoLossError:
            continue
    if len(logs) == 1:
        return logs[0]
    for log in logs:
        log.close()
    if not logs:
        raise DataError(f"{path}: not a run's folder, and no log with a loss is in it or below it")
    listed = ", ".join(str(log.path) for log in logs[:3])
    raise DataError(f"{path}: {len(logs)} logs are in it, so name one: {listed}{', …' * (len(logs) > 3)}")


def source_of(log: LogReading) -> str:
    """Return what was read, and which columns were taken."""
    taken = [f"{tag} from {column!r}" for tag, column in log.columns.items()]
    more = [f"and {len(taken) - _COLUMNS} more"] if len(taken) > _COLUMNS else []
    counted = [] if "step" in log.columns else ["step by counting"]
    return f"{log.title}: {', '.join([*taken[:_COLUMNS], *more, *counted])}"


def _replay_folder(path: Path, diagnosis: Diagnosis) -> Replay:
    run = open_run(path)
    source, curves = "run folder", RunCurves()
    if run.thinned:
        step = _take_up(run, diagnosis)
        source += f"; steps are thinned, so replayed from step {step} on, with earlier incidents as recorded"
        verdict = _verdict(diagnosis, run.records(), curves, run.complete, after=step)
    else:
        verdict = _verdict(diagnosis, run.records(), curves, run.complete)
    absent = [kind for kind in run.config.get("detectors", {}) if kind not in diagnosis.settings]
    notes = [f"the run was judged by the detector {kind} as well, which is not here" for kind in absent]
    return Replay(verdict, source, (*run.notes, *notes), curves)


def _take_up(run: Run, diagnosis: Diagnosis) -> int:
    """Put a diagnosis where the full part of a thinned run begins; returns the step it has seen last."""
    if run.snapshot is None:
        raise DataError(f"{run.folder}: steps are thinned, and no state of the detectors after them is left")
    try:
        unread = diagnosis.load_snapshot(run.snapshot.state, run.incidents)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        unread = [f"{type(error).__name__}: {error}"]
    if unread:
        raise DataError(
            f"{run.folder}: steps are thinned, and the detectors' state at step {run.snapshot.step} is not"
            f" of this version of stabilitykit ({unread[0]}); its readings and incidents can be read all the"
            " same"
        )
    return run.snapshot.step


def _verdict(
    diagnosis: Diagnosis,
    records: Iterable[StepRecord],
    curves: RunCurves,
    complete: bool = True,
    after: int | None = None,
) -> Verdict:
    for record in records:
        curves.add(record)
        if after is None or record.step > after:
            diagnosis.update(record)
    return diagnosis.verdict(complete)


def _reported(log: LogReading, on_progress: Callable[[float], None]) -> Iterator[StepRecord]:
    for at, record in enumerate(log.records):
        if at % _REPORTED == 0:
            on_progress(log.share_read)
        yield record
