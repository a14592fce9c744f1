"""Rules that make one number a step of many sites' readings; none looks at a later step."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.alarms.runs import Rows

Rule = Literal["z", "growth", "level"]
RULES: tuple[Rule, ...] = ("z", "growth", "level")

PAST = 32
"""Values before the present one that ``z`` is measured against."""
LAG = 20
"""Steps over which ``growth`` is measured."""
SMOOTH = 5
"""Values, the present one among them, of whose median ``growth`` and ``level`` are."""
ARMED = 8
"""The first step that has a score."""
FEWEST = 8
"""Past values without which ``z`` says nothing."""
_MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
_LEAST = 1e-3
"""Scatter that any series has: one that stood still would make the least move an event."""


def last_known(rows: Rows, missing: NDArray[np.bool_]) -> Rows:
    """Return rows in which the last reading stands where there is none; NaN before the first.

    A reading that is not a number is a reading.
    """
    if not missing.any():
        return rows
    at = np.where(missing, 0, np.arange(len(rows))[:, None])
    return np.take_along_axis(rows, np.maximum.accumulate(at, axis=0), axis=0)


def trailing_median(rows: Rows, size: int) -> Rows:
    """Return the median of each value and the ``size - 1`` before it; NaN are left out.

    Args:
        rows: (n, sites).
        size: Values, fewer where there are not yet as many.
    """
    return _median(_windows(rows, size))[0]


def z(rows: Rows) -> Rows:
    """Return how far each value stands from the median of the ``PAST`` before it, in noise widths.

    The noise is 1.4826 MAD of the same values. What is not finite is no part of the past; an infinite value
    stands infinitely far off. NaN where fewer than ``FEWEST`` values are known.

    Args:
        rows: (n, sites).
    """
    before = np.full_like(rows, np.nan)
    before[1:] = np.where(np.isfinite(rows[:-1]), rows[:-1], np.nan)
    past = _windows(before, PAST)
    center, count = _median(past)
    past -= center[..., None]
    noise = _MAD_TO_SIGMA * _median(np.abs(past, out=past))[0]
    far = (rows - center) / np.maximum(noise, _LEAST)
    return np.where(count >= FEWEST, far, np.nan)


def growth(smoothed: Rows) -> Rows:
    """Return each value less the one ``LAG`` steps before, or the first where there are not as many.

    Args:
        smoothed: (n, sites), medians of logarithms or of values that may be negative.
    """
    first = np.argmax(np.isfinite(smoothed), axis=0)
    before = np.maximum(np.arange(len(smoothed))[:, None] - LAG, first)
    with np.errstate(invalid="ignore"):
        return smoothed - np.take_along_axis(smoothed, before, axis=0)


def largest(scores: Rows, starts: Sequence[int]) -> Rows:
    """Return the largest score of each stretch of columns; NaN where a step has none.

    Args:
        scores: (n, columns).
        starts: The first column of each stretch, none of them empty.
    """
    return np.fmax.reduceat(scores, starts, axis=1)


def _windows(rows: Rows, size: int) -> NDArray[np.float64]:
    """Return each value and the ``size - 1`` before it, (n, sites, size); NaN where there are none."""
    padded = np.full((len(rows) + size - 1, rows.shape[1]), np.nan)
    padded[size - 1 :] = rows
    return np.lib.stride_tricks.sliding_window_view(padded, size, axis=0).copy()


def _median(windows: NDArray[np.float64]) -> tuple[Rows, NDArray[np.int64]]:
    """Return the median of what is not NaN in each window, and how many values that are.

    NaN sorts last, so the known values of a window are its first.
    """
    ordered = np.sort(windows, axis=-1)
    count = windows.shape[-1] - np.isnan(windows).sum(axis=-1)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    at = np.stack([low, np.minimum(high, windows.shape[-1] - 1)], axis=-1)
    middle = np.take_along_axis(ordered, at, axis=-1)
    with np.errstate(invalid="ignore"):
        # Two infinite values of one sign have themselves as their middle; of two signs they have none.
        found = np.where(middle[..., 0] == middle[..., 1], middle[..., 0], middle.mean(axis=-1))
    return np.where(count > 0, found, np.nan), count
