"""Scores of internal signals, against rules written the slow way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_runs import made_up

from benchmarks.alarms import series
from benchmarks.alarms.signals import SIGNALS, excess, first_over_last, scores_of
from stabilitykit.tags import REGISTRY

numbers = st.one_of(st.floats(-5, 5), st.sampled_from([0.0, 1.0, float("nan"), float("inf"), float("-inf")]))
columns = st.lists(numbers, min_size=1, max_size=60)


def slow_z(values, place):
    past = [v for v in values[max(0, place - 32) : place] if np.isfinite(v)]
    if len(past) < 8:
        return np.nan
    noise = 1.4826 * np.median(np.abs(np.array(past) - np.median(past)))
    return (values[place] - np.median(past)) / max(noise, 1e-3)


def slow_median(values, place, size):
    known = [v for v in values[max(0, place - size + 1) : place + 1] if not np.isnan(v)]
    with np.errstate(invalid="ignore"):
        return np.median(known) if known else np.nan


@given(columns)
def test_z_is_the_distance_to_the_median_of_32_values_before(values):
    found = series.z(np.array(values)[:, None])[:, 0]
    expected = [slow_z(values, place) for place in range(len(values))]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(columns)
def test_smoothed_is_the_median_of_the_last_five(values):
    found = series.trailing_median(np.array(values)[:, None], 5)[:, 0]
    np.testing.assert_array_equal(found, [slow_median(values, place, 5) for place in range(len(values))])


def test_growth_is_over_twenty_steps_or_from_the_first_known_one():
    values = np.arange(40.0)
    values[:3] = np.nan
    found = series.growth(values[:, None])[:, 0]
    assert np.isnan(found[:3]).all()
    assert found[3:24].tolist() == list(range(21))
    assert (found[23:] == 20).all()


def test_the_last_reading_stands_where_there_is_none():
    rows = np.array([np.nan, 1, np.nan, np.nan, 2, np.nan])[:, None]
    missing = np.array([True, False, True, False, False, True])[:, None]
    # At step 3 there is a reading, and it is NaN.
    np.testing.assert_array_equal(series.last_known(rows, missing)[:, 0], [np.nan, 1, 1, np.nan, 2, 2])


def slow_scores(name, run):
    """Return every rule's score of a signal, step by step and site by site."""
    signal = SIGNALS[name]
    rows = signal.rows(run)
    found = {rule: np.full(run.n_steps, np.nan) for rule in series.RULES}
    for place in range(8, run.n_steps):
        best = {rule: [] for rule in series.RULES}
        for site in rows.T:
            scaled = site
            if signal.scale == "log":
                floor = np.maximum(site, 1e-12) if signal.direction < 0 else np.where(site > 0, site, np.nan)
                scaled = np.log(floor)
            smooth = [slow_median(scaled, at, 5) for at in range(place + 1)]
            known = np.flatnonzero(np.isfinite(smooth))
            before = max(place - 20, known[0] if len(known) else 0)
            with np.errstate(invalid="ignore"):
                each = {"z": slow_z(scaled, place), "growth": smooth[place] - smooth[before]}
            each["level"] = smooth[place]
            for rule, value in each.items():
                towards = abs(value) if signal.direction == 0 else signal.direction * value
                best[rule].append(np.exp(towards) if (rule, signal.scale) == ("level", "log") else towards)
        for rule, values in best.items():
            found[rule][place] = np.fmax.reduce(values) if values else np.nan
    return found


@pytest.mark.parametrize("name", ["share falling", "silent units", "norm gain", "log Z", "loss over unigram"])
def test_scores_are_those_of_the_slow_way(name):
    run = made_up(5, n=45)
    slow = slow_scores(name, run)
    for rule in series.RULES:
        np.testing.assert_allclose(scores_of(run, [name])[name, rule], slow[rule], rtol=1e-9, atol=1e-9)


@settings(max_examples=5)
@given(st.integers(0, 10_000))
def test_a_signal_has_the_same_scores_beside_others(seed):
    run = made_up(seed, n=40)
    every = scores_of(run)
    for name in ("RMS_t rising", "entropy rising", "first/last gradient"):
        for rule in series.RULES:
            np.testing.assert_array_equal(every[name, rule], scores_of(run, [name])[name, rule])


def test_every_family_of_tags_is_in_a_signal():
    read = {family for signal in SIGNALS.values() for family in signal.reads}
    # How often a run is observed says nothing of the run, and no run of the benchmark has experts.
    others = {family for family in REGISTRY if family.startswith(("monitor/", "moe/"))}
    assert read == set(REGISTRY) - others


def changed(run, family, factor, since):
    """Return the run with a family's readings multiplied from a step on."""
    values = run.values.copy()
    values[since:, run.places(family)] *= np.float32(factor)
    return type(run)(run.name, run.arm, run.config, run.steps, run.tags, values, run.missing)


def still():
    """Return a run in which nothing moves."""
    run = made_up(0, n=60, wild=False)
    values = np.where(run.missing, np.nan, np.float32(0.5))
    return type(run)(run.name, run.arm, run.config, run.steps, run.tags, values, run.missing)


@pytest.mark.parametrize("name", sorted(set(SIGNALS) - {"loss", "loss over unigram", "first/last gradient"}))
def test_a_signal_rises_when_its_readings_move_the_alarming_way_and_only_then(name):
    signal = SIGNALS[name]
    family = signal.reads[0]
    # Entropy is 1 less what falls; a gain of one half is beyond 1 when it falls on.
    falls = name == "norm gain" or (signal.direction < 0 and name != "entropy rising")
    alarming = 1 / 1.9 if falls else 1.9
    moved = scores_of(changed(still(), family, alarming, since=40), [name])
    other = scores_of(changed(still(), family, 1 / alarming, since=40), [name])
    for rule in series.RULES:
        before, after = moved[name, rule][39], moved[name, rule][45]
        assert after > before, rule
        if signal.direction:
            assert other[name, rule][45] < before, rule
    if not signal.direction:
        assert other[name, "z"][45] > moved[name, "z"][39]


def test_nothing_is_said_before_step_eight_nor_of_a_signal_that_is_not_there():
    run = made_up(0, n=30)
    for score in scores_of(run).values():
        assert np.isnan(score[:8]).all()
    kept = [place for place, tag in enumerate(run.tags) if not tag.startswith("act/")]
    tags = tuple(run.tags[place] for place in kept)
    bare = type(run)("bare", run.arm, run.config, run.steps, tags, run.values[:, kept], run.missing[:, kept])
    assert np.isnan(scores_of(bare)["kurtosis", "level"]).all()
    assert np.isfinite(scores_of(bare)["loss", "level"][8:]).any()


def test_first_over_last_is_of_blocks_and_needs_two():
    run = made_up(0, n=20, wild=False)
    ratio = run.column("grad/norm/blocks.00") / run.column("grad/norm/blocks.01")
    np.testing.assert_allclose(first_over_last(run)[:, 0], ratio, rtol=1e-12)
    kept = [place for place, tag in enumerate(run.tags) if "blocks.01" not in tag]
    tags = tuple(run.tags[place] for place in kept)
    one = type(run)("one", run.arm, run.config, run.steps, tags, run.values[:, kept], run.missing[:, kept])
    assert first_over_last(one).shape == (20, 0)
    np.testing.assert_array_equal(excess(run), run.loss - run.column("train/unigram_cross_entropy"))
