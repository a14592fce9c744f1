"""How much warmup a learning rate needs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stabilitykit.lab.sweep.compare.intervals import Bracket, Estimate, estimate
from stabilitykit.lab.sweep.compare.results import WARMUP, Results, by_seed, grouped, warmup_grid
from stabilitykit.lab.sweep.grid import Sweep, SweepRun


@dataclass(frozen=True)
class WarmupNeeded:
    """The least warmup at which one combination of the other axes is stable."""

    values: Mapping[str, Any]
    """Value or label by the axis's name, the learning rate among them."""
    warmups: tuple[float, ...]
    """The grid, in steps: what is needed lies between two of these."""
    steps: Estimate
    """Mean over seeds; ``censored`` where a seed is not stable with any of the grid."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"values": dict(self.values), "warmups": list(self.warmups), "steps": asdict(self.steps)}


def warmup_needed(sweep: Sweep) -> tuple[WarmupNeeded, ...]:
    """Return the least warmup at which each architecture is stable at each learning rate, in steps.

    A seed's value is the least warmup of the grid with which it is stable; what it needs lies between that
    and the next lower one. A seed that no warmup makes stable counts with the longest, and nothing bounds
    it from above. A seed is left out while a shorter warmup has not ended.

    Args:
        sweep: One with an axis ``schedule.warmup`` of numbers; otherwise nothing is returned.
    """
    results, warmups = Results(sweep), warmup_grid(sweep.plan)
    if not warmups:
        return ()
    return tuple(
        WarmupNeeded(values, warmups, estimate(_least(results, runs)))
        for values, runs in grouped(sweep.runs, WARMUP)
    )


def _least(results: Results, runs: Sequence[SweepRun]) -> dict[int, Bracket]:
    found = {seed: _least_of_seed(results, mine) for seed, mine in by_seed(runs).items()}
    return {seed: bracket for seed, bracket in found.items() if bracket is not None}


def _least_of_seed(results: Results, runs: Sequence[SweepRun]) -> Bracket | None:
    shorter = -math.inf
    for run in sorted(runs, key=lambda run: float(run.cell.values[WARMUP])):
        if run.result is None:
            return None
        warmup = float(run.cell.values[WARMUP])
        if results.stable(run):
            # Without a shorter one in the grid, there is none that could fail where it is 0.
            return Bracket(shorter if shorter > -math.inf else min(0.0, warmup), warmup, warmup)
        shorter = warmup
    return Bracket(shorter, shorter, math.inf)
