"""What fixed rules, peers and detectors announce on runs made for them."""

import dataclasses

import numpy as np
import pytest
from made_up_runs import made_up

from benchmarks.alarms.fixed import FIXED
from benchmarks.alarms.kinds import alarms_of, told
from benchmarks.alarms.peers import PEERS, SCORES, clip_share, loss_slope, trainscope_crossing
from stabilitykit.detect import VanishingGradient, default_detectors
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.records import Finding, Severity


def with_readings(run, tag, values):
    """Return a run in which some tags have other values."""
    changed, missing = run.values.copy(), run.missing.copy()
    places = [place for place, each in enumerate(run.tags) if each.startswith(tag)]
    changed[:, places], missing[:, places] = np.asarray(values, np.float32)[:, None], False
    return dataclasses.replace(run, values=changed, missing=missing)


def stretch(inside, outside, first=20, last=29, n=80):
    values = np.full(n, outside)
    values[first : last + 1] = inside
    return values


@pytest.mark.parametrize(
    ("name", "tag", "inside", "outside"),
    [
        ("share < 1 %", "grad/share/", 0.009, 0.011),
        ("RMS_t < 0.1", "optim/rms_t/", 0.09, 0.11),
        ("RMS_t > 2.3", "optim/rms_t/", 2.31, 2.29),
        ("token spread < 0.01", "act/token_spread/", 0.009, 0.011),
        ("max logit > 100", "attn/logit_max/", 101, 99),
        ("max logit > 1,000", "attn/logit_max/", 1001, 999),
        ("max logit > 10,000", "attn/logit_max/", 10001, 9999),
    ],
)
def test_a_fixed_rule_speaks_at_the_third_step_beyond_its_limit(name, tag, inside, outside):
    run = with_readings(made_up(0, wild=False), tag, stretch(inside, outside))
    assert FIXED[name](run).tolist() == [22]
    run = with_readings(run, tag, stretch(inside, outside, first=0, last=79))
    assert FIXED[name](run).tolist() == [10], "armed from step 8"


@pytest.mark.parametrize("block", ["blocks.00", "blocks.01"])
def test_the_first_and_the_last_gradient_may_be_apart_either_way(block):
    run = with_readings(made_up(0, wild=False), "grad/norm/", np.ones(80))
    assert FIXED["first/last gradient > 30"](run).tolist() == []
    run = with_readings(run, f"grad/norm/{block}", stretch(31.0, 29.0))
    assert FIXED["first/last gradient > 30"](run).tolist() == [22]


def test_embeddings_and_heads_may_have_any_share():
    run = with_readings(made_up(0, wild=False), "grad/share/blocks", np.full(80, 0.5))
    run = with_readings(run, "grad/share/embed", np.full(80, 1e-6))
    assert FIXED["share < 1 %"](run).tolist() == []


def test_a_parked_loss_is_one_that_stays_at_the_unigram_distribution():
    run = with_readings(made_up(0, wild=False), "train/unigram_cross_entropy", np.full(80, 3.0))
    run = with_readings(run, "train/cross_entropy", stretch(3.05, 3.5, first=10, last=79))
    # The median of seven is there from the fourth value on, at step 13.
    assert FIXED["at the unigram distribution for 25 steps"](run).tolist() == [13 + 24]
    assert FIXED["at the unigram distribution for 40 steps"](run).tolist() == [13 + 39]


def test_rules_say_nothing_of_readings_that_are_not_there():
    run = made_up(0, wild=False)
    kept = [place for place, tag in enumerate(run.tags) if tag == "train/loss"]
    bare = dataclasses.replace(
        run, tags=("train/loss",), values=run.values[:, kept], missing=run.missing[:, kept]
    )
    for name, rule in FIXED.items():
        assert rule(bare).tolist() == [], name
    for rule in PEERS.values():
        assert rule(bare).dtype == np.int64
    assert np.isnan(clip_share(bare)).all()
    assert np.isnan(SCORES["log gradient norm z"](bare)).all()


def test_the_slope_of_a_line_is_its_slope():
    run = with_readings(made_up(0, wild=False), "train/", 3 - 0.02 * np.arange(80))
    assert np.isnan(loss_slope(run)[:8]).all()
    np.testing.assert_allclose(loss_slope(run)[8:], -0.02, rtol=1e-4)


def test_the_share_of_clipped_steps_is_over_fifty():
    run = with_readings(made_up(0, n=120, wild=False), "optim/clip_factor", stretch(0.5, 1.0, 60, 79, n=120))
    assert clip_share(run)[59] == 0
    assert clip_share(run)[79] == pytest.approx(20 / 50)
    assert clip_share(run)[119] == pytest.approx(10 / 50)
    assert clip_share(run.until(70))[69] == pytest.approx(10 / 50)


def test_trainscopes_crossing_is_three_steps_beyond_the_first_forty():
    values = np.tile([1.0, 3.0], 50)
    # Median 3, the upper one of the middle two; MAD 2, so the limit is 3 + 3 · 1.4826 · 2 = 11.9.
    values[[50, 51, 60, 61, 62, 63]] = 12.0
    assert trainscope_crossing(values).tolist() == [62]
    values[60] = 11.8
    assert trainscope_crossing(values).tolist() == [63]
    values[10] = np.nan
    assert trainscope_crossing(values).tolist() == []
    assert trainscope_crossing(values[:40]).tolist() == []


def test_a_peer_announces_on_a_run_what_its_rule_flags():
    rng = np.random.default_rng(0)
    loss = 3 + rng.normal(0, 0.05, 200)
    loss[150:152] = 6.0
    run = with_readings(made_up(0, n=200, wild=False), "train/", loss)
    run = with_readings(run, "optim/grad_norm", np.exp(loss))
    for name in ("OLMo-core monitor 6σ", "OLMo-core skip-step 6σ", "plain median and MAD"):
        assert PEERS[name](run).tolist() == [150], name
    for name in ("OLMo-core monitor 6σ, gradient norm", "OLMo-core skip-step 6σ, gradient norm"):
        assert PEERS[name](run).tolist() == [150], name


def starved(n=80):
    """Return a run in which a block's share of the gradient falls to nothing at step 30."""
    run = with_readings(made_up(3, n=n, wild=False), "grad/share/", np.full(n, 0.5))
    return with_readings(run, "grad/share/blocks.00", stretch(1e-5, 0.5, 30, 59, n))


def test_kinds_are_announced_when_they_newly_begin():
    run = starved()
    said = told(run)
    findings = [f.step for f in said.findings if f.kind == "vanishing_gradient"]
    assert len(findings) > 10
    assert said.alarms("vanishing_gradient").tolist() == [findings[0]]
    assert 32 <= findings[0] <= 35
    assert said.alarms("no_such_kind").tolist() == []


def test_the_first_alarms_of_a_kind_are_the_starts_of_its_incidents():
    run, diagnosis = starved(), Diagnosis()
    for record in run.records():
        diagnosis.update(record)
    detected = {}
    for incident in diagnosis.incidents:
        detected.setdefault(incident.kind, incident.detected)
    assert "vanishing_gradient" in detected
    said = told(run)
    for kind, step in detected.items():
        assert said.alarms(kind, Severity.WARNING)[0] == step


def finding(step, site="blocks.00", severity=Severity.INFO):
    return Finding("update_spike", site, step, step, 1.0, 0.5, severity, "")


def test_a_function_from_records_to_findings_is_a_detector():
    def rule(records):
        for record in records:
            if record.step in (3, 4, 5, 9):
                yield finding(record.step)
            if record.step in (4, 5):
                yield finding(record.step, "blocks.01")

    found = alarms_of(made_up(0), rule)
    assert {kind: steps.tolist() for kind, steps in found.items()} == {"update_spike": [3, 4, 9]}


def test_lesser_findings_may_be_passed_over():
    def rule(records):
        for record in records:
            if record.step in (3, 4, 5):
                yield finding(record.step, severity=Severity.INFO if record.step == 3 else Severity.CRITICAL)

    run = made_up(0)
    assert alarms_of(run, rule, Severity.WARNING)["update_spike"].tolist() == [4]
    assert alarms_of(run, rule, Severity.INFO)["update_spike"].tolist() == [3]


def test_a_statistic_read_at_every_tenth_step_begins_once():
    spread = np.full(200, 0.5)
    spread[100:] = 1e-5
    run = made_up(0, n=200, wild=False)
    missing = run.missing
    run = dataclasses.replace(with_readings(run, "act/token_spread/", spread), missing=missing)
    run.values[missing] = np.nan
    said = told(run)
    assert len([f for f in said.findings if f.kind == "rank_collapse"]) > 2
    assert len(said.alarms("rank_collapse")) == 1


def test_an_instance_is_not_used_up():
    run, detector = starved(), VanishingGradient()
    first, second = alarms_of(run, detector), alarms_of(run, detector)
    by_class = alarms_of(run, VanishingGradient)
    for found in (first, second, by_class):
        assert found["vanishing_gradient"].tolist() == first["vanishing_gradient"].tolist()
        assert found["vanishing_gradient"].size == 1


def test_all_detectors_together_say_what_each_says_alone():
    run = made_up(7)
    together = told(run)
    for detector in default_detectors():
        alone = alarms_of(run, detector)
        assert together.alarms(detector.kind).tolist() == alone.get(detector.kind, np.empty(0)).tolist()
