"""A curve in columns of equal width, for pictures that are made of characters."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from stabilitykit.figures.laps import Lap
from stabilitykit.figures.scale import Scale


@dataclass(frozen=True, slots=True)
class Columns:
    """What stands in each column."""

    low: Float[np.ndarray, " columns"]
    """Lower end of the line, as a position on the axis from 0 to 1; NaN where no line is."""
    high: Float[np.ndarray, " columns"]
    """Upper end."""
    broken: Bool[np.ndarray, " columns"]
    """Where the series was not finite."""
    beyond: Bool[np.ndarray, " columns"]
    """Where it lies above the axis."""


def column_of(step: float, span: tuple[int, int], n: int) -> int:
    """Return the column of a step, of ``n`` that hold ``span``; those outside stand at the edges."""
    share = (step - span[0]) / max(1, span[1] - span[0])
    return min(n - 1, max(0, int(share * (n - 1) + 0.5)))


def columns(lap: Lap, span: tuple[int, int], scale: Scale, n: int) -> Columns:
    """Return a lap of a curve in ``n`` columns, with the line between its points.

    Args:
        lap: The steps and their values.
        span: First and last step of the picture.
        scale: The axis of values.
        n: How many columns.
    """
    found = Columns(np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, bool), np.zeros(n, bool))
    for step, value in zip(lap.steps.tolist(), lap.values.tolist(), strict=True):
        found.broken[column_of(step, span, n)] |= math.isnan(value)
        found.beyond[column_of(step, span, n)] |= value > scale.high
    for column, position in _line(lap, span, scale, n):
        found.low[column] = np.fmin(found.low[column], position)
        found.high[column] = np.fmax(found.high[column], position)
    return found


def _line(lap: Lap, span: tuple[int, int], scale: Scale, n: int) -> Iterator[tuple[int, float]]:
    """Yield positions that the line reaches in each column; neighbouring columns touch."""
    positions = np.clip(scale.fraction(lap.values), 0, 1).tolist()
    before: tuple[int, float] | None = None
    for step, position in zip(lap.steps.tolist(), positions, strict=True):
        if math.isnan(position):
            before = None
            continue
        column = column_of(step, span, n)
        yield column, position
        if before is not None and column > before[0]:
            slope = (position - before[1]) / (column - before[0])
            for between in range(before[0], column):
                # Half-way to the next column the two strokes meet.
                middle = before[1] + slope * (between + 0.5 - before[0])
                yield between, middle
                yield between + 1, middle
        before = column, position
