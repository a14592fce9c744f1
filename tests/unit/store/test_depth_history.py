"""The bounded history behind depth × step pictures."""

import numpy as np

from stabilitykit.store.depth_history import COLUMNS, DepthHistory


def test_a_span_keeps_its_largest_value():
    history = DepthHistory(0, 10)
    rows = history.rows(["a", "b"])
    for step in range(20):
        history.add(step, rows, np.array([step, -step], np.float32))
    values, missing = history.table()
    np.testing.assert_array_equal(values, [[9, 19], [0, -10]])
    assert not missing.any()
    assert history.step_range == (0, 20)


def test_nothing_is_lost_by_halving():
    history = DepthHistory(0, 1)
    rows = history.rows(["a"])
    n = COLUMNS * 5
    for step in range(n):
        value = {7: 100.0, 1000: np.nan}.get(step, 1.0)
        history.add(step, rows, np.array([value], np.float32))
    values, missing = history.table()
    assert history.span == 8
    assert values.shape == (1, n // 8)
    assert history.step_range == (0, n)
    assert values[0, 0] == 100
    assert np.flatnonzero(np.isnan(values[0])).tolist() == [125]
    assert not missing.any()


def test_what_was_not_read_is_missing_and_not_nan():
    history = DepthHistory(100, 10)
    first = history.rows(["a"])
    history.add(100, first, np.array([np.nan], np.float32))
    both = history.rows(["b", "a"])
    assert both.tolist() == [1, 0]
    history.add(125, both, np.array([2, 1], np.float32))
    values, missing = history.table()
    np.testing.assert_array_equal(missing, [[False, True, False], [True, True, False]])
    np.testing.assert_array_equal(values, [[np.nan, np.nan, 1], [np.nan, np.nan, 2]])
    assert history.sites == ["a", "b"]


def test_steps_before_the_first_are_passed_over():
    history = DepthHistory(100, 10)
    history.add(50, history.rows(["a"]), np.ones(1, np.float32))
    assert history.step_range == (100, 100)


def test_a_far_jump_fits():
    history = DepthHistory(0, 10)
    rows = history.rows(["a"])
    history.add(0, rows, np.ones(1, np.float32))
    history.add(10**9, rows, np.ones(1, np.float32))
    assert history.table()[0].shape[1] <= COLUMNS
