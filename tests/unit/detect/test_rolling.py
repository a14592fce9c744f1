"""Rolling statistics against NumPy's, and rows whose sites come and go."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stabilitykit.detect.detector import SiteColumns
from stabilitykit.detect.rolling import RowWindow, Streak, Window, median
from stabilitykit.records import StepRecord

finite = st.floats(-1e6, 1e6)
with_nan = st.one_of(finite, st.just(math.nan))
tables = hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=with_nan)


@given(st.lists(finite, min_size=1))
def test_a_median_is_numpys(values):
    assert median(values) == pytest.approx(np.median(values))
    assert math.isnan(median([]))


@given(st.lists(finite, min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 12))
def test_a_window_is_numpy_on_the_tail(values, size, newest):
    window = Window(size)
    for n, value in enumerate(values, start=1):
        window.push(value)
        tail = np.array(values[max(0, n - size) : n])
        assert (len(window), window.full) == (len(tail), len(tail) == size)
        assert window.median() == pytest.approx(np.median(tail))
        for part, sigma in ((tail, window.sigma()), (tail[-newest:], window.sigma(newest))):
            assert sigma == pytest.approx(1.4826 * np.median(np.abs(part - np.median(part))))


def test_an_empty_window_has_no_median():
    assert math.isnan(Window(3).median())
    assert math.isnan(Window(3).sigma())


def test_a_window_holds_the_last_that_were_let_in():
    window = Window(3)
    for value in range(5):
        window.push(value)
    assert (list(window.values), len(window), window.last(2), window.median()) == ([2, 3, 4], 3, [3, 4], 3)


@given(tables, st.integers(1, 6))
def test_a_row_window_is_the_tail_of_the_rows(table, size):
    window = RowWindow(size)
    for n, row in enumerate(table, start=1):
        window.push(row)
        tail = table[max(0, n - size) : n]
        assert len(window) == len(tail)
        np.testing.assert_array_equal(window.oldest, tail[0])
        np.testing.assert_array_equal(window.count(), (~np.isnan(tail)).sum(axis=0))
        expected = [np.median(c[~np.isnan(c)]) if (~np.isnan(c)).any() else math.nan for c in tail.T]
        np.testing.assert_allclose(window.median(), expected)
        around = [np.abs(c[~np.isnan(c)] - m) for c, m in zip(tail.T, expected, strict=True)]
        sigma = [1.4826 * np.median(c) if c.size else math.nan for c in around]
        np.testing.assert_allclose(window.sigma(np.array(expected)), sigma, atol=1e-9)


@given(tables, st.integers(1, 6), st.integers(0, 12))
def test_a_row_window_survives_json_at_any_cut(table, size, cut):
    whole, broken = RowWindow(size), RowWindow(size)
    for row in table[:cut]:
        whole.push(row)
        broken.push(row)
    # Loaded into one that has seen other sites.
    loaded = RowWindow(size)
    loaded.push(np.ones(7))
    loaded.load_state_dict(json.loads(json.dumps(broken.state_dict())))
    for row in table[cut:]:
        whole.push(row)
        loaded.push(row)
        np.testing.assert_array_equal(loaded.oldest, whole.oldest)
        np.testing.assert_array_equal(loaded.median(), whole.median())
    assert repr(loaded.state_dict()) == repr(whole.state_dict())


def test_a_site_that_appears_has_no_past():
    window = RowWindow(3)
    window.push(np.array([1.0]))
    window.push(np.array([2.0, 5.0]))
    np.testing.assert_array_equal(window.oldest, [1.0, math.nan])
    np.testing.assert_array_equal(window.median(), [1.5, 5.0])


def test_a_streak_begins_where_its_condition_did_and_ends_with_it():
    streak = Streak()
    seen = []
    for step, holds in enumerate(([0, 1], [1, 1], [0, 1], [1, 0], [1, 0], [0, 0], [1, 1, 1])):
        streak.update(10 * step, np.array(holds, dtype=bool))
        seen.append([(streak.since(i), int(n)) if n else None for i, n in enumerate(streak.length)])
    assert seen == [
        [None, (0, 1)],
        [(10, 1), (0, 2)],
        [None, (0, 3)],
        [(30, 1), None],
        [(30, 2), None],
        [None, None],
        [(60, 1), (60, 1), (60, 1)],
    ]


SITES = ("act/rms/blocks.00.resid_post", "act/rms/blocks.01.resid_post", "act/rms/blocks.02.resid_post")
VALUE = {tag: float(i) for i, tag in enumerate((*SITES, "train/loss"))}


@given(
    st.lists(
        st.permutations([*SITES, "train/loss"]).flatmap(lambda p: st.sampled_from([p[:k] for k in range(5)]))
    )
)
@settings(max_examples=60)
def test_a_site_keeps_its_place_whatever_is_read_in_whatever_order(reads):
    columns = SiteColumns("act/rms")
    places: list[str] = []
    for step, tags in enumerate(reads):
        row = columns.row(StepRecord.of(step, {tag: VALUE[tag] for tag in tags}))
        read = [tag for tag in tags if tag in SITES]
        places += [tag for tag in read if tag not in places]
        expected = [VALUE[tag] if tag in read else math.nan for tag in places] if read else []
        np.testing.assert_array_equal(row, expected)
    assert columns.tags == places


def test_places_that_are_taken_up_hold_at_once():
    columns = SiteColumns("act/rms")
    record = StepRecord.of(0, {tag: VALUE[tag] for tag in SITES})
    assert columns.row(record).tolist() == [0, 1, 2]
    columns.load_state_dict([SITES[2], SITES[0]])
    assert columns.row(record).tolist() == [2, 0, 1]


def test_families_are_not_confused_with_those_whose_names_they_begin():
    columns = SiteColumns("attn/logit_max")
    record = StepRecord.of(0, {"attn/logit_max_bound/blocks.00": 9.0, "attn/logit_max/blocks.00": 5.0})
    assert columns.row(record).tolist() == [5.0]
    assert columns.sites == ["blocks.00"]
