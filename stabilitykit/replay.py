"""Afterwards: logs in, verdict out. What ``diagnose`` runs; no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stabilitykit.detect import Detector, all_detectors
from stabilitykit.diagnosis import Diagnosis
from stabilitykit.errors import ConfigError, DataError
from stabilitykit.figures import RunCurves
from stabilitykit.records import StepRecord, Verdict
from stabilitykit.store import Run, is_run_folder, open_run, read_csv

Format = Literal["auto", "run", "csv"]


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
    path: str | Path, *, format: Format = "auto", loss: str | None = None, detectors: Sequence[Detector] = ()
) -> Verdict:
    """Return the verdict of a finished run, with its incidents.

    Args:
        path: A run's folder, or a CSV log.
        format: What it is; found out unless given.
        loss: Name of the loss's column in a CSV log; found by name unless given.
        detectors: Detectors of the user's own, beside the built-in ones: new ones, as in the live run.

    Raises:
        DataError: The log cannot be used.
        RunFolderError: It is no run's folder, or a newer version's.
        ConfigError: An argument does not fit the log.
    """
    return replay(path, format=format, loss=loss, detectors=detectors).verdict


def replay(
    path: str | Path, *, format: Format = "auto", loss: str | None = None, detectors: Sequence[Detector] = ()
) -> Replay:
    """Run the diagnosis over a log: on a run's folder it gives exactly the incidents of the live run.

    Args:
        path: A run's folder, or a CSV log.
        format: What it is; found out unless given.
        loss: Name of the loss's column in a CSV log; found by name unless given.
        detectors: Detectors of the user's own, beside the built-in ones: new ones, as in the live run.

    Raises:
        DataError: The log cannot be used.
        RunFolderError: It is no run's folder, or a newer version's.
        ConfigError: An argument does not fit the log.
    """
    path, diagnosis = Path(path), Diagnosis(all_detectors(detectors))
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if format == "run" or (format == "auto" and path.is_dir()):
        return _replay_folder(path, loss, diagnosis)
    log = read_csv(path, loss=loss)
    taken = ", ".join(f"{tag} from {column!r}" for tag, column in log.columns.items())
    curves = RunCurves()
    return Replay(_verdict(diagnosis, log.records, curves), f"CSV: {taken}", log.notes, curves)


def _replay_folder(path: Path, loss: str | None, diagnosis: Diagnosis) -> Replay:
    if loss is not None:
        raise ConfigError(f"loss: got {loss!r}; a run's folder names its own, so leave it out for {path}")
    if not is_run_folder(path):
        raise DataError(f"{path}: not a run's folder; give a folder that stabilitykit wrote, or a CSV file")
    run = open_run(path)
    source, curves = "run folder", RunCurves()
    if run.thinned:
        step = _take_up(run, diagnosis)
        source += f"; steps are thinned, so replayed from step {step} on, with earlier incidents as recorded"
        verdict = _verdict(diagnosis, run.records(), curves, run.complete, after=step)
    else:
        verdict = _verdict(diagnosis, run.records(), curves, run.complete)
    if not verdict.steps:
        raise DataError(f"{path}: the run holds no step")
    absent = [kind for kind in run.config.get("detectors", {}) if kind not in diagnosis.settings]
    notes = [f"the run was judged by the detector {kind} as well, which is not here" for kind in absent]
    return Replay(verdict, source, (*run.notes, *notes), curves)


def _take_up(run: Run, diagnosis: Diagnosis) -> int:
    """Put a diagnosis where the full part of a thinned run begins; returns the step it has seen last."""
    if run.snapshot is None:
        raise DataError(f"{run.folder}: steps are thinned, and no state of the detectors after them is left")
    try:
        diagnosis.load_snapshot(run.snapshot.state, run.incidents)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{run.folder}: steps are thinned, and the detectors' state at step {run.snapshot.step} is not"
            " of this version of stabilitykit; its readings and incidents can be read all the same"
        ) from error
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
