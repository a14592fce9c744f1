"""The grid of a sweep: axes, cells, plans, results, and their folder. No torch."""

from stabilitykit.lab.sweep.grid.axes import Axis, read_axis, read_seeds
from stabilitykit.lab.sweep.grid.bisection import asked_for, ladder
from stabilitykit.lab.sweep.grid.cell import Cell, cell_key
from stabilitykit.lab.sweep.grid.folder import (
    Sweep,
    SweepRun,
    load_plan,
    open_sweep,
    plan_files,
    read_sweep,
    write_plan,
)
from stabilitykit.lab.sweep.grid.plan import DEFAULT_AXES, RESOLUTION, SweepPlan, read_plan
from stabilitykit.lab.sweep.grid.result import (
    CellOutcome,
    CellResult,
    IncidentBrief,
    read_result,
    write_result,
)
from stabilitykit.lab.sweep.grid.stability import TOLERANCE, held, is_slow, is_stable

__all__ = [
    "DEFAULT_AXES",
    "RESOLUTION",
    "TOLERANCE",
    "Axis",
    "Cell",
    "CellOutcome",
    "CellResult",
    "IncidentBrief",
    "Sweep",
    "SweepPlan",
    "SweepRun",
    "asked_for",
    "cell_key",
    "held",
    "is_slow",
    "is_stable",
    "ladder",
    "load_plan",
    "open_sweep",
    "plan_files",
    "read_axis",
    "read_plan",
    "read_result",
    "read_seeds",
    "read_sweep",
    "write_plan",
    "write_result",
]
