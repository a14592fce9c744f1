"""Curves in columns of characters."""

import numpy as np

from stabilitykit.figures import LossCurve, Scale
from stabilitykit.figures.columns import column_of, columns


def drawn(points, scale, n):
    curve = LossCurve()
    for step, value in points:
        curve.add(step, value)
    return columns(curve.laps[0], curve.span, scale, n)


def test_the_line_goes_on_between_its_points():
    found = drawn([(0, 0.0), (100, 1.0)], Scale(0.0, 1.0), 11)
    assert not np.isnan(found.low).any()
    assert (found.low[1:] <= found.high[:-1]).all()
    assert (found.low[0], found.high[-1]) == (0.0, 1.0)


def test_it_breaks_where_the_series_does():
    found = drawn([(0, 0.5), (1, 0.5), (2, np.nan), (3, np.inf), (4, 0.5)], Scale(0.0, 1.0), 5)
    assert found.broken.tolist() == [False, False, True, True, False]
    assert np.isnan(found.low).tolist() == [False, False, True, True, False]


def test_a_spike_stays_in_few_columns():
    points = [(step, 9.0 if step == 512 else 1.0) for step in range(1000)]
    found = drawn(points, Scale(0.0, 5.0), 20)
    assert found.beyond.sum() == 1
    assert found.high[column_of(512, (0, 999), 20)] == 1.0
    assert (found.high == 1.0).sum() <= 2


def test_columns_stay_inside():
    assert [column_of(step, (10, 20), 5) for step in (-5, 10, 15, 20, 99)] == [0, 0, 2, 4, 4]
    assert column_of(3, (3, 3), 5) == 0
