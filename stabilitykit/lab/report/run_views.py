"""A run as a report shows it: its curves and verdict, and its depths over steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from stabilitykit.afterwards.replay import Replay
from stabilitykit.errors import DataError, StabilityKitError
from stabilitykit.figures.depth_map import DepthMap
from stabilitykit.figures.run_picture import RunCurves, RunPicture
from stabilitykit.lab.report.depth_maps import depth_maps
from stabilitykit.lab.report.landscapes import title_of
from stabilitykit.lab.sweep.grid import SweepRun
from stabilitykit.records import Outcome, StepRecord, Verdict
from stabilitykit.store import Run, is_run_folder, open_run

_DRAWN = ("train/cross_entropy", "train/loss", "optim/grad_norm")


@dataclass(frozen=True)
class RunView:
    """One run."""

    key: str
    """Its name in addresses and in names of files."""
    picture: RunPicture
    maps: Sequence[DepthMap] = field(default_factory=tuple)
    note: str = ""
    """What could not be read."""


def view_of_cell(run: SweepRun, names: Sequence[str]) -> RunView:
    """Return a run of a sweep, from what its folder says of it: nothing is judged again.

    Args:
        run: A run that has ended.
        names: The axes by which it is called.

    Raises:
        DataError: It has not ended.
    """
    title, result = title_of(run, names or ["arch"]), run.result
    if result is None:
        raise DataError(f"{run.folder}: has no result")
    try:
        opened = open_run(run.folder)
        curves, maps, incidents, note = _curves(opened), depth_maps(opened), opened.incidents, ""
    except StabilityKitError as error:
        curves, maps, incidents, note = RunCurves(), [], (), str(error)
    # A crash is an outcome of a cell, and none of a verdict; the page shows its word all the same.
    outcome = cast(Outcome, result.outcome)
    verdict = Verdict(outcome, result.reason, result.outcome != "crashed", result.steps, incidents)
    return RunView(run.cell.key, RunPicture(title, verdict, curves), maps, note)


def view_of_log(path: Path, replay: Replay, key: str) -> RunView:
    """Return a log as it was diagnosed; a run's folder with its depths.

    Args:
        path: The log.
        replay: Its diagnosis.
        key: Its name in addresses.
    """
    maps = depth_maps(open_run(path)) if is_run_folder(path) else []
    return RunView(key, RunPicture(str(path), replay.verdict, replay.curves), maps)


def _curves(run: Run) -> RunCurves:
    """Return the curves of a run, from the columns that are drawn alone."""
    curves = RunCurves()
    readings: dict[int, dict[str, float]] = {}
    for tag in (tag for tag in _DRAWN if tag in run.tags):
        for step, value in zip(*(each.tolist() for each in run.column(tag)), strict=True):
            readings.setdefault(step, {})[tag] = value
    for step in sorted(readings):
        curves.add(StepRecord.of(step, readings[step]))
    return curves
