"""Labels and onsets, from made-up losses whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from unit.benchmarks.alarms.made import falling, made

from benchmarks.alarms.curves import Curve, causal_median
from benchmarks.alarms.labels import Event, Kind, at_loss_onset, count_labels, label_runs
from benchmarks.alarms.onsets import divergence, leaves_for_good
from benchmarks.alarms.rules import VARIANTS, Rules
from benchmarks.alarms.sensitivity import under_variants
from stabilitykit.errors import DataError


def healthy(n=3):
    rng = np.random.default_rng(0)
    rates = (1e-3, 3e-3, 1e-2)
    return [
        made(f"healthy{k}", falling() + rng.normal(0, 0.02, 240), lr=rates[k % 3], seed=k) for k in range(n)
    ]


def kind_of(run, others=None):
    return label_runs([*(healthy() if others is None else others), run])[run.name]


def test_a_run_that_stays_at_the_unigram_distribution_is_stuck_from_where_its_peers_leave_it():
    found = kind_of(made("parked", falling(to=0.0), lr=0.1))
    assert found.kind is Kind.STUCK
    # Its peers go below from step 40 on, and are 0.3 nat lower some four steps of the median later.
    assert 43 <= found.events[0].onset <= 50
    assert found.references == ("family", "family")


def test_a_run_that_stops_falling_is_degraded_from_where_its_peers_are_far_below():
    excess = np.maximum(falling(), -0.4)
    found = kind_of(made("worse", excess, lr=0.1))
    assert found.kind is Kind.DEGRADED
    # Its peers are 0.3 nat below -0.4 from step 52 on, which a median of 7 sees three later.
    assert found.events[0].onset == pytest.approx(55, abs=3)
    assert found.above_best == pytest.approx(0.6, abs=0.03)


def test_degraded_at_its_very_end_is_grey():
    excess = np.maximum(falling(), -0.75)
    excess[220:] = -0.3
    found = kind_of(made("worse", excess, lr=0.1))
    assert (found.kind, found.events) == (Kind.GREY, ())
    assert "near the end" in found.note


@pytest.mark.parametrize(("to", "kind"), [(-0.75, Kind.HEALTHY), (-0.6, Kind.GREY)])
def test_between_healthy_and_degraded_is_grey(to, kind):
    assert kind_of(made("run", falling(to=to), lr=0.1)).kind is kind


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_loss_that_is_no_number_is_the_onset(value):
    excess = falling()
    excess[100] = value
    found = kind_of(made("run", excess, lr=0.1))
    assert (found.kind, found.events) == (Kind.NONFINITE, (Event(100),))


def test_a_loss_that_leaves_its_peers_before_it_is_no_number_is_lost_from_there():
    excess = falling()
    excess[100:130] += np.arange(30.0)
    excess[130:] = np.nan
    found = kind_of(made("run", excess, lr=0.1))
    assert found.kind is Kind.NONFINITE
    assert 100 < found.events[0].onset < 108


def test_a_loss_that_rises_and_stays_up_has_diverged_from_its_last_step_near_its_minimum():
    excess = falling()
    excess[120:] += np.minimum(0.05 * np.arange(120), 2.0)
    found = kind_of(made("run", excess, lr=0.1))
    assert found.kind is Kind.DIVERGED
    # Within 0.1 of the minimum for two steps, which a median of 7 sees three later.
    assert found.events[0].onset == pytest.approx(125, abs=2)
    assert found.events[0].crossing == pytest.approx(120 + 0.5 / 0.05 + 3, abs=4)


def test_a_spike_that_comes_back_is_no_divergence():
    excess = falling()
    excess[120:140] += 2.0
    assert kind_of(made("run", excess, lr=0.1)).kind is Kind.HEALTHY


def test_what_was_high_from_the_start_is_lost_there_even_if_it_diverges_at_its_end():
    excess = np.full(240, 1.5)
    excess[200:] = 3.0
    found = kind_of(made("run", excess, lr=1.0))
    assert found.kind is Kind.DIVERGED
    assert found.events[0].onset < 10
    assert found.events[0].crossing > 200


def test_a_hard_batch_moves_the_loss_but_no_label():
    rng = np.random.default_rng(1)
    unigram = 3 + rng.normal(0, 1.0, 240)
    found = kind_of(made("run", falling(to=-0.9), unigram=unigram, lr=0.1))
    assert found.kind is Kind.HEALTHY


def test_a_run_slower_than_all_healthy_ones_is_grey():
    found = kind_of(made("slow", falling(to=-0.3), lr=1e-5))
    assert (found.kind, found.note) == (Kind.GREY, "slow: every healthy run has a larger rate")


def test_without_healthy_peers_a_wider_group_gives_the_envelope():
    wider = [made(f"w{k}", falling(), lr=1e-3 * 3**k, arch="out_norm", family=("out",)) for k in range(3)]
    parked = made("parked", falling(to=0.0), lr=0.1)
    found = kind_of(parked, wider)
    assert (found.kind, found.references) == (Kind.STUCK, ("depth", "depth"))
    alone = kind_of(parked, [])
    assert (alone.kind, alone.note) == (Kind.GREY, "stuck, but no healthy run to compare with")


def test_a_family_with_one_rate_has_its_own_best_only_if_that_is_good():
    wider = healthy()
    other = [made(f"o{k}", falling(to=-0.85), seed=k, family=("other",), lr=0.03) for k in range(2)]
    bad = [made(f"b{k}", falling(to=-0.3), seed=k, family=("bad",), lr=0.03) for k in range(2)]
    found = label_runs([*wider, *other, *bad])
    assert {found[f"o{k}"].kind for k in range(2)} == {Kind.HEALTHY}
    assert found["o0"].above_best == pytest.approx(0.0, abs=1e-9)
    assert {found[f"b{k}"].kind for k in range(2)} == {Kind.DEGRADED}


def test_an_injected_fault_is_an_event_of_its_own_with_the_losss_answer_beside_it():
    rng = np.random.default_rng(0)
    excess = falling() + rng.normal(0, 0.02, 240)
    quiet = made("quiet", excess, arm="injected", config={"fault": {"step": 150}})
    answered = excess.copy()
    answered[154:] += 1.0
    loud = made("loud", answered, arm="injected", config={"fault": {"step": 150}})
    found = label_runs([quiet, loud])
    assert found["quiet"].events == (Event(150, since=150, loss_onset=None),)
    assert found["loud"].events == (Event(150, since=150, loss_onset=154),)
    shifted = at_loss_onset(found)
    assert shifted["quiet"].events == ()
    assert shifted["loud"].events[0].onset == 154


def test_counts_by_arm_and_placement():
    found = count_labels(label_runs([*healthy(), made("parked", falling(to=0.0), lr=0.1)]))
    assert found == {"boundary, pre_norm": {"healthy": 3, "stuck": 1}}


def test_every_variant_is_labelled_anew():
    runs = [*healthy(), made("worse", falling(to=-0.35), lr=0.1)]
    found = under_variants(runs, lambda labels: labels["worse"].kind)
    assert set(found) == set(VARIANTS)
    assert found["as stated"] is Kind.DEGRADED
    assert found["degraded from 0.8"] is Kind.GREY


def test_runs_with_gaps_or_without_unigram_are_refused():
    with pytest.raises(DataError, match="unigram_cross_entropy"):
        label_runs([made("run", falling(), unigram=np.nan)])
    gap = made("run", falling())
    object.__setattr__(gap, "config", {"data": {}})
    type_steps = np.delete(np.arange(241), 5)

    class Gap(type(gap)):
        steps = type_steps

    with pytest.raises(DataError, match="every step"):
        label_runs([Gap(**vars(gap))])


def test_missing_readings_of_the_unigram_distribution_are_left_out():
    unigram = np.where(np.arange(240) % 3 == 0, np.nan, 3.0)
    excess = falling()
    run = made("run", excess)
    object.__setattr__(run, "unigram", unigram)
    assert Curve(run, 7, 0.05).final == pytest.approx(-1.0, abs=0.01)


@settings(max_examples=40, derandomize=True)
@given(arrays(float, 30, elements=st.floats(-10, 10) | st.just(np.nan)), st.integers(1, 9))
def test_the_causal_median_is_that_of_what_came_so_far(values, window):
    found = causal_median(values, window)
    for t in range(len(values)):
        past = values[max(0, t - window + 1) : t + 1]
        past = past[~np.isnan(past)]
        expected = np.median(past) if len(past) else np.nan
        assert np.allclose(found[t], expected, equal_nan=True)


def test_leaving_for_good_means_to_the_end():
    envelope = np.zeros(10)
    assert leaves_for_good(np.array([1.0] * 10), envelope, 0.3) == 0
    assert leaves_for_good(np.array([1.0] * 5 + [0.2] + [1.0] * 4), envelope, 0.3) == 6
    assert leaves_for_good(np.array([1.0] * 9 + [0.2]), envelope, 0.3) is None


def test_a_divergence_needs_the_share_of_the_way_too():
    smooth = np.r_[np.linspace(10, 2, 50), np.full(50, 2.8)]
    assert divergence(smooth, 10.0, 2.0, Rules()) is None
    assert divergence(smooth, 6.0, 2.0, Rules()) is not None
