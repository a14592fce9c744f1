"""Statistics over the values before each value."""

from collections.abc import Callable

import numpy as np

from benchmarks.detection.log import Values

_CHUNK = 2_000_000
"""Numbers held at once, so that a long window over a long log stays small in memory."""


def trailing(values: Values, window: int, statistic: Callable[[Values], Values]) -> Values:
    """Return a statistic of the ``window`` values before each value; NaN where there are fewer.

    Args:
        values: The series.
        window: Values looked at; the value itself is not among them.
        statistic: Takes rows of windows and returns one number a row.
    """
    found = np.full(len(values), np.nan)
    if len(values) <= window:
        return found
    views = np.lib.stride_tricks.sliding_window_view(values, window)[:-1]
    rows = max(1, _CHUNK // window)
    for first in range(0, len(views), rows):
        found[window + first : window + first + rows] = statistic(views[first : first + rows])
    return found


def growing(values: Values, least: int, window: int, statistic: Callable[[Values], Values]) -> Values:
    """Return as ``trailing`` does, but from ``least`` values on: over all there are until it is full."""
    found = trailing(values, window, statistic)
    for place in range(least, min(window, len(values))):
        found[place] = statistic(values[None, :place])[0]
    return found


def mean(rows: Values) -> Values:
    """Return each row's mean."""
    return np.asarray(rows.mean(axis=1))


def deviation(rows: Values) -> Values:
    """Return each row's standard deviation, divided by the number of its values."""
    return np.asarray(rows.std(axis=1))


def sample_deviation(rows: Values) -> Values:
    """Return each row's standard deviation, divided by the number of its values less one."""
    return np.asarray(rows.std(axis=1, ddof=1))


def median(rows: Values) -> Values:
    """Return each row's median; NaN where the row holds one."""
    middle = rows.shape[1] // 2
    if rows.shape[1] % 2:
        found = np.partition(rows, middle, axis=1)[:, middle]
    else:
        found = np.partition(rows, [middle - 1, middle], axis=1)[:, middle - 1 : middle + 1].mean(axis=1)
    return np.where(np.isnan(rows).any(axis=1), np.nan, found)


def robust_deviation(rows: Values) -> Values:
    """Return 1.4826 times each row's median absolute deviation from its median."""
    return 1.4826 * median(np.abs(rows - median(rows)[:, None]))
