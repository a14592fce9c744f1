"""A sweep's folder: what was asked for, and a run's folder for each cell. Several sweeps may share one.

``NAME.sweep.json`` holds a plan; the cells' folders are named by what they train. A cell whose folder has a
``result.json`` is done, whoever asked for it.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stabilitykit.errors import RunFolderError
from stabilitykit.lab.sweep.grid.bisection import asked_for
from stabilitykit.lab.sweep.grid.cell import Cell
from stabilitykit.lab.sweep.grid.plan import SweepPlan
from stabilitykit.lab.sweep.grid.result import SCHEMA_VERSION, CellResult, read_result
from stabilitykit.store.contents import entries
from stabilitykit.store.disk import PART, read_file, reason, replace_file
from stabilitykit.store.documents import parse_json

SUFFIX = ".sweep.json"


@dataclass(frozen=True, eq=False)
class SweepRun:
    """A cell, where it is kept, and how it ended."""

    cell: Cell
    folder: Path
    """Its run's folder, whether it is there or not."""
    result: CellResult | None
    """None while it has not ended."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep as it is on disk: the plan, and every cell that it asks for, done or not."""

    plan: SweepPlan
    folder: Path
    runs: tuple[SweepRun, ...]

    @property
    def done(self) -> tuple[SweepRun, ...]:
        """The runs that have ended."""
        return tuple(run for run in self.runs if run.result is not None)


def write_plan(folder: Path, plan: SweepPlan) -> Path:
    """Write what a sweep is asked to do into its folder, and return the file.

    Raises:
        RunFolderError: The disk did not take it.
    """
    path = folder / f"{plan.name}{SUFFIX}"
    document = {"schema_version": SCHEMA_VERSION, **plan.to_json()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(document, indent=1) + "\n")
    except OSError as error:
        raise RunFolderError(
            f"{path}: cannot be written ({reason(error)}); name another with --logdir"
        ) from None
    return path


def plan_files(path: Path) -> list[Path]:
    """Return the plans' files in a folder, or the file itself if it is one; empty where there is none."""
    if path.name.endswith(SUFFIX) and path.is_file():
        return [path]
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []


def remove_plan_leftovers(folder: Path) -> None:
    """Remove what a killed writer has left of a plan."""
    for entry in entries(folder):
        part = PART.fullmatch(entry.name)
        if part and part["name"].endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
            with suppress(OSError):
                (folder / entry.name).unlink()


def open_sweep(file: Path) -> Sweep:
    """Return the sweep of a plan's file, with what its folder holds of it.

    Args:
        file: One that ``plan_files`` names.

    Raises:
        RunFolderError: It cannot be read by this version.
    """
    return read_sweep(load_plan(file), file.parent)


def load_plan(file: Path) -> SweepPlan:
    """Return the plan that ``write_plan`` wrote.

    Args:
        file: One that ``plan_files`` names.

    Raises:
        RunFolderError: It cannot be read by this version.
    """
    try:
        document = parse_json(read_file(file))
        version = int(document["schema_version"])
    except OSError as error:
        raise RunFolderError(f"{file}: cannot be read ({reason(error)})") from None
    except (ValueError, KeyError, TypeError, OverflowError):
        raise RunFolderError(
            f"{file}: damaged; repeat the sweep's command to have it written again"
        ) from None
    if version > SCHEMA_VERSION:
        raise RunFolderError(
            f"{file}: schema_version {version} is newer than this version of stabilitykit reads"
        )
    return SweepPlan.from_json(document)


def read_sweep(plan: SweepPlan, folder: Path) -> Sweep:
    """Return a sweep with what its folder holds of it."""
    results: dict[str, CellResult | None] = {}

    def result_of(cell: Cell) -> CellResult | None:
        if cell.key not in results:
            results[cell.key] = read_result(folder / cell.key)
        return results[cell.key]

    cells = asked_for(plan, result_of)
    return Sweep(plan, folder, tuple(SweepRun(cell, folder / cell.key, result_of(cell)) for cell in cells))
