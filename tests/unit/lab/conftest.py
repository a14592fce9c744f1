"""Sweeps made up in memory: a plan, and how each of its cells is said to have ended."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stabilitykit.lab.sweep.grid import CellResult, IncidentBrief, Sweep, SweepPlan, SweepRun
from stabilitykit.records import Severity

Ending = Callable[[Mapping[str, Any], int], CellResult | None]
MakeSweep = Callable[..., Sweep]


@pytest.fixture
def made_sweep(tmp_path: Path) -> MakeSweep:
    """Return a function that makes a sweep of axes, of what each cell came to, and of claims."""

    def made(
        axes: Mapping[str, Any], ending: Ending, seeds: int = 3, claims: tuple[Mapping[str, Any], ...] = ()
    ) -> Sweep:
        plan = SweepPlan(
            fields={"arch": "pre_norm", "trainer": {"steps": 240}}, seeds=tuple(range(seeds)), claims=claims
        ).with_axes(axes)
        runs = (SweepRun(cell, tmp_path / cell.key, ending(cell.values, cell.seed)) for cell in plan.cells())
        return Sweep(plan, tmp_path, tuple(runs))

    return made


def ended(final: float | None, first: float | None = 5.0, **more: Any) -> CellResult:
    """Return the result of a run that ended with a loss."""
    fields = {"outcome": "stable", "reason": "", "steps": 240, "best_loss": final} | more
    return CellResult(first_loss=first, final_loss=final, **fields)


def brief(kind: str, site: str, start: int, detected: int) -> IncidentBrief:
    """Return an incident."""
    return IncidentBrief(kind, site, start, detected, Severity.WARNING)
