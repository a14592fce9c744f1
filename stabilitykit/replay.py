"""Afterwards: logs in, verdict out. What ``diagnose`` runs; no torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stabilitykit.diagnosis import Diagnosis
from stabilitykit.errors import ConfigError, DataError
from stabilitykit.records import StepRecord, Verdict
from stabilitykit.store import is_run_folder, open_run, read_csv

Format = Literal["auto", "run", "csv"]


@dataclass(frozen=True, slots=True)
class Replay:
    """The diagnosis of one log."""

    verdict: Verdict
    source: str
    """What was read, and which columns were taken."""
    notes: tuple[str, ...]
    """What was damaged or passed over."""


def diagnose(path: str | Path, *, format: Format = "auto", loss: str | None = None) -> Verdict:
    """Return the verdict of a finished run, with its incidents.

    Args:
        path: A run's folder, or a CSV log.
        format: What it is; found out unless given.
        loss: Name of the loss's column in a CSV log; found by name unless given.

    Raises:
        DataError: The log cannot be used.
        RunFolderError: It is no run's folder, or a newer version's.
        ConfigError: An argument does not fit the log.
    """
    return replay(path, format=format, loss=loss).verdict


def replay(path: str | Path, *, format: Format = "auto", loss: str | None = None) -> Replay:
    """Run the diagnosis over a log: on a run's folder it gives exactly the incidents of the live run.

    Args:
        path: A run's folder, or a CSV log.
        format: What it is; found out unless given.
        loss: Name of the loss's column in a CSV log; found by name unless given.

    Raises:
        DataError: The log cannot be used.
        RunFolderError: It is no run's folder, or a newer version's.
        ConfigError: An argument does not fit the log.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if format == "run" or (format == "auto" and path.is_dir()):
        return _replay_folder(path, loss)
    log = read_csv(path, loss=loss)
    taken = ", ".join(f"{tag} from {column!r}" for tag, column in log.columns.items())
    return Replay(_verdict(log.records), f"CSV: {taken}", log.notes)


def _replay_folder(path: Path, loss: str | None) -> Replay:
    if loss is not None:
        raise ConfigError(f"loss: got {loss!r}; a run's folder names its own, so leave it out for {path}")
    if not is_run_folder(path):
        raise DataError(f"{path}: not a run's folder; give a folder that stabilitykit wrote, or a CSV file")
    run = open_run(path)
    verdict = _verdict(run.records(), complete=run.complete)
    if not verdict.steps:
        raise DataError(f"{path}: the run holds no step")
    return Replay(verdict, "run folder", run.notes)


def _verdict(records: Iterable[StepRecord], complete: bool = True) -> Verdict:
    diagnosis = Diagnosis()
    for record in records:
        diagnosis.update(record)
    return diagnosis.verdict(complete)
