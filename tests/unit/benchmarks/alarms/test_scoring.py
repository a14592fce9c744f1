"""Scores of runs counted by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.benchmarks.alarms.made import label, labels, steps

from benchmarks.alarms.exposure import early_steps, healthy_steps, horizon
from benchmarks.alarms.labels import Event, Kind
from benchmarks.alarms.matching import Ground
from benchmarks.alarms.score import LEADS
from benchmarks.alarms.scoring import Scorer
from benchmarks.alarms.survival import kaplan_meier


def one_event(onset, announced, n=240, **fields):
    found = labels(label("run", Kind.STUCK, onset, n=n), label("fine"))
    return Scorer(found).score({"run": steps(*announced), "fine": steps()}, **fields)


def test_the_horizon_is_a_fifth_of_a_short_run_and_200_steps_of_a_long_one():
    assert [horizon(n) for n in (240, 1000, 5000)] == [48, 200, 200]


@pytest.mark.parametrize(
    ("announced", "lead", "strict", "late", "early"),
    [
        ([95], 5, 5, 0, 0),
        ([99], 1, 1, 0, 0),
        ([100], -math.inf, -math.inf, 1, 0),  # at the onset is detection
        ([130], -math.inf, -math.inf, 1, 0),
        ([52], 48, 48, 0, 0),
        ([51], 49, -math.inf, 0, 1),  # before the horizon
        ([10, 95], 90, 5, 0, 1),  # two episodes
        ([40, 60, 80], 60, -math.inf, 0, 1),  # one that began before the horizon
        ([0], -math.inf, -math.inf, 0, 0),  # nothing can be forecast at step 0
        ([], -math.inf, -math.inf, 0, 0),
        ([95, 150], 5, 5, 0, 0),  # warned of: a later alarm is no late one
    ],
)
def test_one_event(announced, lead, strict, late, early):
    score = one_event(100, announced)
    assert score.anytime.lead.median == lead
    assert score.strict.lead.median == strict
    assert (score.late, score.early.episodes) == (late, early)
    for least, share in score.anytime.share.items():
        assert share.value == float(lead >= least)
    assert (score.early.steps, score.healthy.steps) == (52, 240)


def test_a_missed_event_is_a_lead_of_minus_infinity_in_the_median():
    found = labels(*(label(f"r{k}", Kind.STUCK, 100) for k in range(4)), label("fine"))
    said = {"r0": steps(60), "r1": steps(90), "r2": steps(), "r3": steps(), "fine": steps()}
    lead = Scorer(found).score(said).anytime.lead
    assert (lead.low, lead.median, lead.high) == (-math.inf, -math.inf, 10)


def test_events_before_a_method_is_armed_are_missed_and_listed():
    score = one_event(10, [40], armed=38)
    assert (score.events, score.unarmed, score.late, score.delay) == (1, 1, 1, 30)
    assert score.headline.value == 0
    assert one_event(10, [5], armed={"run": 3, "fine": 30}).unarmed == 0


def test_false_alarms_in_healthy_grey_and_failed_runs_are_kept_apart():
    found = labels(
        label("h0"),
        label("h1", n=500),
        label("g0", Kind.GREY),
        label("g1", Kind.GREY),
        label("f", Kind.STUCK, 200),
    )
    said = {
        "h0": steps(30, 31, 32, 100),
        "h1": steps(),
        "g0": steps(50),
        "g1": steps(),
        "f": steps(20, 100, 190),
    }
    score = Scorer(found).score(said)
    assert (score.healthy.episodes, score.healthy.steps) == (2, 740)
    assert score.healthy.per_thousand.value == pytest.approx(2 / 0.740)
    assert (score.early.episodes, score.early.steps) == (2, 152)
    assert (score.flagged.value, score.grey.value) == (0.5, 0.5)
    assert score.in_warning == pytest.approx(4 / 740)
    assert Scorer(found).score(said, lasting=False).in_warning is None
    assert score.quiet == ((30, 0.5),)
    # One warned of inside its horizon, beside two false and two early ones.
    assert score.precision == pytest.approx(1 / 5)


def test_chance_is_that_of_random_alarms_at_the_same_rate():
    found = labels(label("run", Kind.STUCK, 100), *(label(f"h{k}") for k in range(10)))
    said = {"run": steps(), **{f"h{k}": steps(50) if k < 3 else steps() for k in range(10)}}
    score = Scorer(found).score(said)
    rate = 3 / 2400
    # Steps 1 to 95 of the run, and 52 to 95 inside the horizon.
    assert score.anytime.chance[5] == pytest.approx(1 - math.exp(-95 * rate))
    assert score.strict.chance[5] == pytest.approx(1 - math.exp(-44 * rate))
    assert score.strict.chance[50] == 0
    assert score.anytime.gain[5].value == pytest.approx(-score.anytime.chance[5])


def test_random_alarms_do_as_chance_says():
    rng = np.random.default_rng(0)
    rate = 1 / 300
    found = labels(
        *(label(f"f{k}", Kind.STUCK, 150) for k in range(400)), *(label(f"h{k}") for k in range(400))
    )
    said = {name: np.flatnonzero(rng.random(240) < rate) for name in found}
    score = Scorer(found).score(said)
    # Alarms within 25 steps are merged, which lowers the rate; 400 events leave a deviation of 0.025.
    assert score.anytime.gain[5].value == pytest.approx(0, abs=0.08)
    assert score.strict.gain[5].value == pytest.approx(0, abs=0.08)


def test_no_false_alarm_in_n_steps_leaves_three_over_n():
    score = one_event(100, [95])
    assert score.healthy.per_thousand.value == 0
    assert score.healthy.per_thousand.high == pytest.approx(3000 / 240)


def test_spikes_are_warned_of_only_between_them():
    events = [Event(100, 1, 110, 120, 140), Event(300, 141, 310, 320, None)]
    found = labels(label("run", Kind.SPIKING, *events, n=500, arm="repeated"))
    healthy = healthy_steps(found["run"])
    # A horizon of 100 before the first reaches the start; between the two, from 141 to 199.
    assert (healthy[:141].any(), healthy[141:200].all(), healthy[200:].any()) == (False, True, False)
    score = Scorer(found).score({"run": steps(130, 180, 295)})
    assert score.events == 2
    assert score.late == 1  # the first, inside it
    # 120 steps before the second, of which the horizon of 100 sees none; and 5.
    assert {lead: share.value for lead, share in score.anytime.share.items()} == dict.fromkeys(LEADS, 0.5)
    assert [score.strict.share[lead].value for lead in (5, 20)] == [0.5, 0.0]
    assert score.healthy.episodes == 1


def test_faults_are_detected_from_their_step_on_and_false_before():
    found = labels(label("run", Kind.INJECTED, Event(150, since=150, loss_onset=153), arm="injected"))
    score = Scorer(found).score({"run": steps(100, 151)})
    assert (score.headline.value, score.late, score.delay) == (0, 1, 1)
    assert (score.early.episodes, score.early.steps) == (1, 150)


def test_arms_are_never_pooled():
    with pytest.raises(ValueError, match="never pooled"):
        Scorer(labels(label("a"), label("b", Kind.INJECTED, 5)))


def test_a_run_without_its_alarms_is_an_error():
    with pytest.raises(KeyError):
        Scorer(labels(label("a"))).score({})


def test_methods_are_compared_event_by_event():
    found = labels(*(label(f"r{k}", Kind.STUCK, 100) for k in range(30)))
    none = {name: steps() for name in found}
    half = {name: steps(80) if k % 2 else steps() for k, name in enumerate(found)}
    scorer = Scorer(found)
    found = scorer.difference(half, none)
    assert found.value == 0.5
    assert found.low > 0
    same = scorer.difference(half, half)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_scores_are_plain_json():
    found = json.loads(json.dumps(one_event(100, []).to_json(), allow_nan=False))
    assert found["anytime"]["lead"]["median"] is None
    assert found["anytime"]["share"]["5"]["value"] == 0
    assert found["events"] == 1


@settings(max_examples=40, derandomize=True)
@given(st.lists(st.integers(0, 239), max_size=12).map(lambda s: steps(*sorted(set(s)))), st.integers(0, 239))
def test_nothing_said_at_or_after_the_onset_changes_what_came_before(announced, onset):
    run = Ground(label("run", Kind.STUCK, onset))
    whole, before = run.match(announced), run.match(announced[announced < onset])
    assert (whole.warnings[0].lead, whole.warnings[0].strict) == (
        before.warnings[0].lead,
        before.warnings[0].strict,
    )
    assert whole.early == before.early


def test_early_steps_end_at_the_horizon():
    assert early_steps(label("run", Kind.STUCK, 100)).sum() == 52
    assert early_steps(label("run", Kind.STUCK, 30)).sum() == 0
    assert early_steps(label("run")).sum() == 0


def test_kaplan_meier_by_hand():
    # Five runs: alarms at 3 and 6, one that ended after 5 steps, two that ran on.
    found = kaplan_meier([(10, 3), (10, 6), (5, None), (10, None), (10, None)])
    assert found == ((3, pytest.approx(4 / 5)), (6, pytest.approx(4 / 5 * 2 / 3)))
    assert kaplan_meier([(10, None)]) == ()
