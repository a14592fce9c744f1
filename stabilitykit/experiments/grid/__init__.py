"""The grid of a sweep: axes, cells, plans, results, and their folder. No torch."""

from stabilitykit.experiments.grid.axes import Axis, read_axis, read_seeds
from stabilitykit.experiments.grid.cell import Cell, cell_key
from stabilitykit.experiments.grid.folder import Sweep, SweepRun, open_sweep, plan_files, runs_of, write_plan
from stabilitykit.experiments.grid.plan import DEFAULT_AXES, SweepPlan, read_plan
from stabilitykit.experiments.grid.result import (
    CellOutcome,
    CellResult,
    IncidentBrief,
    read_result,
    write_result,
)

__all__ = [
    "DEFAULT_AXES",
    "Axis",
    "Cell",
    "CellOutcome",
    "CellResult",
    "IncidentBrief",
    "Sweep",
    "SweepPlan",
    "SweepRun",
    "cell_key",
    "open_sweep",
    "plan_files",
    "read_axis",
    "read_plan",
    "read_result",
    "read_seeds",
    "runs_of",
    "write_plan",
    "write_result",
]
