"""The largest value of an axis at which runs hold, with far fewer runs than a grid: halving, seed by seed."""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from statistics import fmean
from typing import Any

from stabilitykit.experiments.grid.cell import Cell
from stabilitykit.experiments.grid.plan import SweepPlan
from stabilitykit.experiments.grid.result import CellResult
from stabilitykit.experiments.grid.stability import is_stable

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


class _Search:
    """The search in one setting: a coarse ladder for all seeds, then each seed's own halving."""

    def __init__(self, plan: SweepPlan, axis: str, values: Mapping[str, Any], result_of: ResultOf) -> None:
        self._plan = plan
        self._axis = axis
        self._values = values
        self._result_of = result_of

    def cells(self) -> Iterator[Cell]:
        """Yield what the search has asked for so far, and what it asks for next."""
        low, high = self._plan.ends(self._axis)
        ladder = [_rounded(low * (high / low) ** (rung / (COARSE - 1))) for rung in range(COARSE)]
        rows = [[self._cell(value, seed) for seed in self._plan.seeds] for value in ladder]
        yield from (cell for row in rows for cell in row)
        losses = [self._mean_loss(row) for row in rows]
        if all(self._result_of(cell) is not None for row in rows for cell in row):
            known = [loss for loss in losses if loss is not None]
            if known:
                start = losses.index(min(known))
                for seed in self._plan.seeds:
                    yield from self._halving(ladder[start:], seed, min(known))

    def _halving(self, ladder: list[float], seed: int, best: float) -> Iterator[Cell]:
        """Yield the middles between the last value that held and the first that failed.

        The ladder begins at the best value: below it a loss may be high since little was learnt.
        """
        held = [self._holds(self._cell(value, seed), best) for value in ladder]
        edges = [
            (a, b) for (a, b), (x, y) in zip(pairwise(ladder), pairwise(held), strict=True) if x and not y
        ]
        if not edges or not held[0]:
            return
        low, high = edges[0]
        while high / low > self._plan.resolution:
            middle = _rounded(math.sqrt(low * high))
            cell = self._cell(middle, seed)
            yield cell
            holds = self._holds(cell, best)
            if holds is None:
                return
            low, high = (middle, high) if holds else (low, middle)

    def _cell(self, value: float, seed: int) -> Cell:
        return self._plan.cell({**self._values, self._axis: value}, seed)

    def _holds(self, cell: Cell, best: float) -> bool | None:
        result = self._result_of(cell)
        return None if result is None else is_stable(result, best)

    def _mean_loss(self, row: list[Cell]) -> float | None:
        results = [self._result_of(cell) for cell in row]
        losses = [result.final_loss for result in results if result is not None]
        finite = [loss for loss in losses if loss is not None]
        return fmean(finite) if finite and len(finite) == len(row) else None


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
