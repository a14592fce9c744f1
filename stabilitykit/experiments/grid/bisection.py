"""The largest value of an axis at which runs hold, with far fewer runs than a grid: halving, seed by seed."""

import math
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean
from typing import Any

from stabilitykit.experiments.grid.cell import Cell
from stabilitykit.experiments.grid.plan import SweepPlan
from stabilitykit.experiments.grid.result import CellResult
from stabilitykit.experiments.grid.stability import is_slow, is_stable

ResultOf = Callable[[Cell], CellResult | None]

COARSE = 4
"""Values at which every seed is tried first: evenly in the logarithm, the ends of the axis included."""


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
    return tuple(
        cell
        for values in plan.without(plan.bisect).settings_grid()
        for cell in _Search(plan, plan.bisect, values, result_of).cells()
    )


def ladder(plan: SweepPlan, axis: str) -> tuple[float, ...]:
    """Return the values at which every seed of a bisection is tried first.

    Raises:
        ConfigError: There is no such axis, or it is not one between whose ends one can search.
    """
    low, high = plan.ends(axis)
    return tuple(_rounded(low * (high / low) ** (rung / (COARSE - 1))) for rung in range(COARSE))


class _Search:
    """The search in one setting: a coarse ladder for all seeds, then each seed's own halving."""

    def __init__(self, plan: SweepPlan, axis: str, values: Mapping[str, Any], result_of: ResultOf) -> None:
        self._plan = plan
        self._axis = axis
        self._values = values
        self._result_of = result_of

    def cells(self) -> Iterator[Cell]:
        """Yield what the search has asked for so far, and what it asks for next."""
        rows = [
            [self._cell(value, seed) for seed in self._plan.seeds] for value in ladder(self._plan, self._axis)
        ]
        yield from (cell for row in rows for cell in row)
        ended = [[self._result_of(cell) for cell in row] for row in rows]
        if all(result is not None for row in ended for result in row):
            losses = [_mean_loss([result for result in row if result is not None]) for row in ended]
            best = min((loss for loss in losses if loss is not None), default=None)
            for seed, mine in zip(self._plan.seeds, zip(*rows, strict=True), strict=True):
                yield from self._halving(list(mine), seed, best)

    def _halving(self, rungs: list[Cell], seed: int, best: float | None) -> Iterator[Cell]:
        """Yield the middles between the last value that is stable and the first above it that is not."""
        while rungs and (result := self._result_of(rungs[0])) is not None and is_slow(result, best):
            rungs = rungs[1:]
        failed = [at for at, cell in enumerate(rungs) if not self._stable(cell, best)]
        if not failed or failed[0] == 0:
            return
        low, high = (float(rungs[at].values[self._axis]) for at in (failed[0] - 1, failed[0]))
        while high / low > self._plan.resolution:
            middle = _rounded(math.sqrt(low * high))
            cell = self._cell(middle, seed)
            yield cell
            if self._result_of(cell) is None:
                return
            low, high = (middle, high) if self._stable(cell, best) else (low, middle)

    def _cell(self, value: float, seed: int) -> Cell:
        return self._plan.cell({**self._values, self._axis: value}, seed)

    def _stable(self, cell: Cell, best: float | None) -> bool:
        result = self._result_of(cell)
        return result is not None and is_stable(result, best)


def _mean_loss(results: list[CellResult]) -> float | None:
    finite = [result.final_loss for result in results if result.final_loss is not None]
    return fmean(finite) if len(finite) == len(results) else None


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
