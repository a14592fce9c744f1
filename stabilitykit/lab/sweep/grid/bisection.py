"""The largest value of an axis at which runs hold, with far fewer runs than a grid: halving, seed by seed."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from stabilitykit.lab.sweep.grid.cell import Cell
from stabilitykit.lab.sweep.grid.plan import SweepPlan
from stabilitykit.lab.sweep.grid.result import CellResult
from stabilitykit.lab.sweep.grid.stability import is_slow, is_stable

ResultOf = Callable[[Cell], CellResult | None]

RUNGS = 2
"""Values in a factor of ten at which every seed is tried first: near enough to meet the best loss."""
_WARMUP = "schedule.warmup"


def asked_for(plan: SweepPlan, result_of: ResultOf) -> tuple[Cell, ...]:
    """Return every cell that a plan asks for, given what is known: those that have ended, and the next ones.

    It depends on results alone, not on the order in which they came: a sweep that was killed, or had other
    workers, asks for the same cells.

    Args:
        plan: The plan.
        result_of: How a cell ended, or None while it has not.
    """
    if plan.bisect is None:
        return plan.cells()
    settings = plan.without(plan.bisect).settings_grid()
    searches = [_Search(plan, plan.bisect, values, result_of) for values in settings]
    cells = [cell for search in searches for row in search.rungs for cell in row]
    for architecture in _by_architecture(searches):
        if all(search.rungs_ended for search in architecture):
            losses = [search.best for search in architecture]
            best = min((loss for loss in losses if loss is not None), default=None)
            cells += [cell for search in architecture for cell in search.halving(best)]
    return tuple(cells)


def ladder(plan: SweepPlan, axis: str) -> tuple[float, ...]:
    """Return the values at which every seed of a bisection is tried first, the ends of the axis among them.

    Raises:
        ConfigError: There is no such axis, or it is not one between whose ends one can search.
    """
    low, high = plan.ends(axis)
    count = math.ceil(RUNGS * math.log10(high / low) - 1e-9)
    return tuple(_rounded(low * (high / low) ** (rung / count)) for rung in range(count + 1))


@dataclass(frozen=True)
class _Search:
    """The search in one setting: a ladder for all seeds, then each seed's own halving."""

    plan: SweepPlan
    axis: str
    values: Mapping[str, Any]
    result_of: ResultOf

    @property
    def rungs(self) -> list[list[Cell]]:
        """The ladder: for each value the cells of all seeds."""
        return [
            [self._cell(value, seed) for seed in self.plan.seeds] for value in ladder(self.plan, self.axis)
        ]

    @property
    def rungs_ended(self) -> bool:
        """Whether all of the ladder has ended."""
        return all(self.result_of(cell) is not None for row in self.rungs for cell in row)

    @property
    def best(self) -> float | None:
        """The lowest final loss on the ladder, as a median over seeds; None where none is a number."""
        best = min(median(_loss(self.result_of(cell)) for cell in row) for row in self.rungs)
        return best if math.isfinite(best) else None

    def halving(self, best: float | None) -> Iterator[Cell]:
        """Yield each seed's middles between the last value that is stable and the first that is not."""
        for cells in zip(*self.rungs, strict=True):
            yield from self._halving(list(cells), best)

    def _halving(self, rungs: list[Cell], best: float | None) -> Iterator[Cell]:
        while rungs and (result := self.result_of(rungs[0])) is not None and is_slow(result, best):
            rungs = rungs[1:]
        failed = [at for at, cell in enumerate(rungs) if not self._stable(cell, best)]
        if not failed or failed[0] == 0:
            return
        low, high = (float(rungs[at].values[self.axis]) for at in (failed[0] - 1, failed[0]))
        while high / low > self.plan.resolution:
            middle = _rounded(math.sqrt(low * high))
            cell = self._cell(middle, rungs[0].seed)
            yield cell
            if self.result_of(cell) is None:
                return
            low, high = (middle, high) if self._stable(cell, best) else (low, middle)

    def _cell(self, value: float, seed: int) -> Cell:
        return self.plan.cell({**self.values, self.axis: value}, seed)

    def _stable(self, cell: Cell, best: float | None) -> bool:
        result = self.result_of(cell)
        return result is not None and is_stable(result, best)


def _by_architecture(searches: list[_Search]) -> list[list[_Search]]:
    """Return the searches together that differ in warmup alone: they share their best loss."""
    found: dict[tuple[Any, ...], list[_Search]] = {}
    for search in searches:
        name = tuple(value for axis, value in search.values.items() if axis != _WARMUP)
        found.setdefault(name, []).append(search)
    return list(found.values())


def _loss(result: CellResult | None) -> float:
    if result is None or result.outcome == "crashed" or result.final_loss is None:
        return math.inf
    return result.final_loss if math.isfinite(result.final_loss) else math.inf


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
