"""The runs in a sweep's folder: those that have ended, and why others are left out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.alarms.runs import Run, in_one_order
from stabilitykit.errors import DataError, RunFolderError
from stabilitykit.lab.sweep.grid import load_plan, plan_files, read_result, read_sweep
from stabilitykit.store import Run as RunFolder
from stabilitykit.store import open_run
from stabilitykit.store.contents import CRASH

ARMS = ("boundary", "healthy", "deep", "repeated", "side", "injected", "locked")
"""Parts of the benchmark; a cell that several ask for is of the first."""
PREFIX = "alarms_"
"""How the names of their plans begin."""


class Reading(NamedTuple):
    """What a folder holds."""

    runs: tuple[Run, ...]
    """Those that have ended, by name."""
    left_out: Mapping[str, str]
    """Why others are left out, by name."""


def read_runs(folder: Path, arm_of: Callable[[str], str | None] | None = None) -> Reading:
    """Return every run in a sweep's folder that came to its end.

    Args:
        folder: A sweep's folder.
        arm_of: Takes the name of a cell and returns its arm, None for one that is not wanted; by default
            the name of the plan that asks for it, without ``alarms_``.

    Raises:
        RunFolderError: There is no such folder, or a plan in it cannot be read.
    """
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: no such folder")
    arms = arms_of(folder) if arm_of is None else {}
    names = sorted({path.name for path in folder.iterdir() if path.is_dir()} | set(arms))
    runs, left_out = [], {}
    for name in names:
        arm = arms.get(name) if arm_of is None else arm_of(name)
        try:
            if arm is None:
                raise DataError("no plan asks for it")
            runs.append(read_run(folder / name, arm))
        except (DataError, RunFolderError) as error:
            left_out[name] = str(error)
    return Reading(tuple(runs), left_out)


def arms_of(folder: Path) -> dict[str, str]:
    """Return the arm of every cell that a plan in the folder asks for, by the cell's name.

    Raises:
        RunFolderError: A plan cannot be read.
    """
    plans = [load_plan(file) for file in plan_files(folder)]
    found: dict[str, str] = {}
    for plan in sorted(plans, key=lambda plan: _rank(plan.name.removeprefix(PREFIX))):
        for run in read_sweep(plan, folder).runs:
            found.setdefault(run.cell.key, plan.name.removeprefix(PREFIX))
    return found


def read_run(folder: Path, arm: str) -> Run:
    """Return one run.

    Args:
        folder: A cell's folder.
        arm: Which part of the benchmark it belongs to.

    Raises:
        DataError: It has not ended, or not every reading of every step is there; says why.
        RunFolderError: It is no run's folder.
    """
    result = read_result(folder)
    if result is None:
        raise DataError(_unfinished(folder))
    if result.outcome == "crashed":
        raise DataError(f"crashed: {result.reason}")
    opened = open_run(folder)
    _check(opened)
    records = list(opened.records())
    if not records:
        raise DataError("holds no step")
    schemas = list(dict.fromkeys(record.tags for record in records))
    tags = in_one_order(schemas)
    places = {tag: place for place, tag in enumerate(tags)}
    columns = {schema: np.array([places[tag] for tag in schema]) for schema in schemas}
    values = np.full((len(records), len(tags)), np.nan, np.float32)
    missing = np.ones(values.shape, dtype=bool)
    for at, record in enumerate(records):
        values[at, columns[record.tags]] = record.values
        missing[at, columns[record.tags]] = False
    steps = np.array([record.step for record in records], np.int64)
    return Run(folder.name, arm, opened.config, steps, tags, values, missing, result.to_json())


def _check(opened: RunFolder) -> None:
    if not opened.complete:
        raise DataError("was interrupted")
    if opened.thinned:
        raise DataError("its steps are thinned")
    if opened.notes:
        raise DataError(f"damaged: {'; '.join(opened.notes)}")


def _unfinished(folder: Path) -> str:
    if not folder.is_dir():
        return "was not run"
    return "crashed" if (folder / CRASH).exists() else "has not ended"


def _rank(arm: str) -> tuple[int, str]:
    """Return where a plan stands among those that ask for the same cell."""
    return (ARMS.index(arm) if arm in ARMS else len(ARMS)), arm
