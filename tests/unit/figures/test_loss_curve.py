"""Thinning: nothing that a picture shows is lost, and memory stays within its bound."""

import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from stabilitykit.figures import LossCurve

SMALL = 64
STEPS = st.integers(-(10**6), 10**12)
VALUES = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 1e308, 1e-300]))


def curve_of(points, buckets=SMALL) -> LossCurve:
    curve = LossCurve(buckets)
    for step, loss in points:
        curve.add(step, loss)
    return curve


def kept(curve) -> list[tuple[int, float]]:
    return [(int(s), v) for lap in curve.laps for s, v in zip(lap.steps, lap.values, strict=True)]


def test_few_points_are_all_kept():
    points = [(step, 3.0 - step / 100) for step in range(50)]
    curve = curve_of(points)
    assert kept(curve) == points
    assert (curve.width, curve.points, curve.span) == (1, 50, (0, 49))


@given(st.lists(st.tuples(STEPS, VALUES), min_size=1, max_size=400))
@example([(step * 10**9, 1.0) for step in range(300)])
def test_what_is_kept_was_there_and_the_extremes_of_any_stretch_are_kept(points):
    curve = curve_of(points)
    finite = [(step, loss) for step, loss in points if math.isfinite(loss)]
    found = kept(curve)
    assert {point for point in found if point[1] == point[1]} <= set(finite)
    assert len(found) <= 5 * SMALL
    for start, end in [(p[0], q[0]) for p in points[:5] for q in points[-5:] if p[0] <= q[0]]:
        inside = [loss for step, loss in finite if start <= step <= end]
        about = [loss for step, loss in found if start - curve.width < step < end + curve.width]
        if inside:
            assert np.nanmin(about) <= min(inside)
            assert np.nanmax(about) >= max(inside)


@given(st.lists(st.tuples(STEPS, VALUES), min_size=1, max_size=400))
def test_stretches_that_are_not_finite_are_kept(points):
    curve = curve_of(points)
    breaks = [step for step, loss in points if not math.isfinite(loss)]
    marks = np.concatenate([lap.broken for lap in curve.laps])
    assert all(mark in breaks for mark in marks)
    assert all(np.abs(marks - step).min() < curve.width for step in breaks)


def test_a_spike_of_one_step_survives_half_a_million():
    curve = LossCurve()
    for step in range(300_000):
        curve.add(step, 99.0 if step == 123_457 else 2.0 + step % 7 / 100)
    assert (123_457, 99.0) in kept(curve)
    assert curve.near(123_457) == (123_457, 99.0)
    assert len(kept(curve)) <= 4 * 2048


def test_a_restart_begins_a_lap_and_the_old_end_stays():
    points = [(step, 5.0) for step in range(40)] + [(step, 2.0) for step in range(30, 60)]
    curve = curve_of(points, buckets=2 * SMALL)
    before, after = curve.laps
    assert (before.steps[-1], after.steps[0]) == (39, 30)
    assert set(before.values) == {5.0}
    assert curve.span == (0, 59)
    assert curve.near(35) == (35, 5.0)
    assert curve.near(50) == (50, 2.0)


def test_many_restarts_stay_within_bounds():
    curve = curve_of([(step, float(epoch)) for epoch in range(100) for step in range(500)])
    assert len(curve.laps) == 8
    assert len(kept(curve)) <= 4 * SMALL
    assert max(curve.values) == 99.0


def test_steps_within_a_lap_rise():
    curve = curve_of([(5, 1.0), (3, 2.0), (4, 3.0), (9, math.nan), (9, 1.0)] * 50)
    assert all((np.diff(lap.steps) >= 0).all() for lap in curve.laps)


def test_thinned_further_it_keeps_its_extremes_and_its_laps():
    points = [(step, 3.0 + step % 11) for step in range(900)] + [(step, -1.0) for step in range(500, 999)]
    thin = curve_of([*points, (999, math.nan)], buckets=1024).thinned(32)
    assert len(kept(thin)) <= 5 * 32
    assert [min(lap.steps) for lap in thin.laps] == [0, 500]
    assert (min(thin.values), max(thin.values)) == (-1.0, 13.0)
    assert thin.is_broken


def test_nothing_is_nothing():
    curve = LossCurve()
    assert (curve.laps, curve.span, curve.near(0), curve.values.size) == ((), (0, 0), None, 0)
