"""What needs no signal: the step's number and the configuration; and what a signal adds to them."""

import math

import numpy as np
import pytest
from unit.benchmarks.alarms.made import label, labels, made

from benchmarks.alarms.chance import at_random, step_only
from benchmarks.alarms.conditional import conditional_auc
from benchmarks.alarms.config_only import ConfigOnly, running_maximum
from benchmarks.alarms.folds import leave_one_placement_out
from benchmarks.alarms.intervals import Resamples
from benchmarks.alarms.labels import Kind
from benchmarks.alarms.logistic import fit, log_likelihood
from benchmarks.alarms.scoring import Scorer
from benchmarks.alarms.thresholds import calibrate


def test_chance_by_hand():
    found = at_random(np.array([0.001, 0.0]), np.array([50.0, 200.0]))
    assert found[0] == pytest.approx([0.0488, 0.1813], abs=1e-4)
    assert found[1].tolist() == [0, 0]


def test_the_step_alone_can_warn_of_no_larger_share_than_it_may_flag():
    each = [label(f"{a}{k}", arch=a, family=(a,)) for a in ("pre_norm", "post_norm") for k in range(10)]
    failed = [
        label(f"{a}!{k}", Kind.STUCK, t, arch=a, family=(a,))
        for a in ("pre_norm", "post_norm")
        for k, t in enumerate((4, 100, 120))
    ]
    found = labels(*each, *failed)
    folds = leave_one_placement_out(found)
    anytime, strict = step_only(found, folds, strict=False), step_only(found, folds, strict=True)
    # Half an alarm in 1,000 steps of runs of 240: 0.12 of them.
    assert anytime.shares == pytest.approx({"pre_norm": 0.12, "post_norm": 0.12})
    assert anytime.per_thousand == pytest.approx(0.5)
    assert anytime.recall[5] == pytest.approx(0.12 * 2 / 3)
    # The horizons of two of three events hold the steps from 72 to 95.
    assert set(strict.steps.values()) == {72}
    assert strict.recall[5] == pytest.approx(0.12 * 2 / 3)
    assert strict.recall[50] == 0


def test_the_model_finds_the_odds_of_a_table():
    # Of 40 with the feature 30 failed, of 60 without 15: log odds ratio log(30·45/(10·15)).
    x = np.repeat([[1.0], [0.0]], [40, 60], axis=0)
    failed = np.r_[np.arange(40) < 30, np.arange(60) < 15]
    model = fit(x, failed, ridge=1e-9)
    odds = model.log_odds(np.array([[1.0], [0.0]]))
    assert odds == pytest.approx([math.log(3), math.log(1 / 3)], abs=1e-3)
    assert log_likelihood(odds, np.array([True, False])) == pytest.approx(math.log(0.75), abs=1e-3)


@pytest.mark.parametrize("failed", [np.arange(20) >= 10, np.ones(20, bool), np.zeros(20, bool)])
def test_weights_stay_finite_where_classes_are_apart_or_alike(failed):
    model = fit(np.column_stack([np.arange(20.0), np.ones(20)]), failed)
    assert np.isfinite(model.weights).all()
    assert model.weights[2] == 0
    right = (model.log_odds(np.column_stack([np.arange(20.0), np.ones(20)])) > 0) == failed
    assert right.all()


def grid():
    """Two placements, in which a run fails from a rate of 1e-2 on."""
    runs, found = [], []
    for arch in ("pre_norm", "post_norm"):
        for lr in (1e-3, 3e-3, 1e-2, 3e-2):
            for seed in range(8):
                name = f"{arch} {lr} {seed}"
                runs.append(made(name, np.zeros(240), arch=arch, lr=lr, seed=seed, family=(arch,)))
                kind = (Kind.STUCK, 100) if lr >= 1e-2 else (Kind.HEALTHY,)
                found.append(label(name, *kind, arch=arch, family=(arch,), setting=(arch, lr)))
    return runs, labels(*found)


def test_where_the_rate_decides_the_configuration_tells_all():
    runs, found = grid()
    folds = leave_one_placement_out(found)
    calibrated = calibrate(ConfigOnly(runs, found).scores, found, folds)
    score = Scorer(found).score(calibrated.alarms)
    assert (score.headline.value, score.healthy.episodes) == (1.0, 0)
    # The rate is known at once; the alarm still has to hold for three steps.
    assert score.anytime.lead.median == 98


def test_a_signal_adds_what_the_configuration_does_not_know():
    runs, found = grid()
    rng = np.random.default_rng(0)
    # Which seeds fail no longer hangs on the rate.
    fails = {run.name: rng.random() < 0.5 for run in runs}
    found = labels(
        *(
            label(
                n, *((Kind.STUCK, 100) if fails[n] else (Kind.HEALTHY,)), arch=each.arch, family=each.family
            )
            for n, each in found.items()
        )
    )
    folds, resamples = leave_one_placement_out(found), Resamples.of(found)
    config = ConfigOnly(runs, found)
    knows = config.gain(folds, {n: float(fails[n]) for n in found}, 40, resamples)
    nothing = config.gain(folds, {n: rng.random() for n in found}, 40, resamples)
    absent = config.gain(folds, dict.fromkeys(found, np.nan), 40, resamples)
    assert knows.gain.low > 0.2
    assert knows.with_signal > knows.config
    assert nothing.gain.value == pytest.approx(0, abs=0.1)
    assert absent.gain.value == pytest.approx(0, abs=1e-9)
    # At step 100 every failure has begun: nothing is left to foretell.
    assert config.gain(folds, dict.fromkeys(found, 0.0), 100, resamples).events == 0


def test_the_running_maximum_leaves_out_what_cannot_be_said():
    found = running_maximum({"a": np.array([np.nan, 3.0, 1.0, 9.0]), "b": np.array([np.nan, np.nan])}, 2)
    assert found["a"] == 3.0
    assert math.isnan(found["b"])


def test_a_score_that_only_knows_the_rate_is_worth_nothing_at_equal_rate():
    _, found = grid()
    names = list(found)
    mixed = labels(
        *(
            label(n, *((Kind.STUCK, 100) if k % 2 else (Kind.HEALTHY,)), setting=found[n].setting)
            for k, n in enumerate(names)
        )
    )
    rate_only = {n: np.full(240, mixed[n].setting[1]) for n in names}
    oracle = {n: np.full(240, float(k % 2)) for k, n in enumerate(names)}
    late = {n: np.where(np.arange(240) >= 20, s, 0.0) for n, s in oracle.items()}
    unable = {n: np.full(240, np.nan) for n in names}
    found = conditional_auc(rate_only, mixed)
    assert [(each.step, each.auc.value, each.pairs, each.settings) for each in found] == [
        (step, 0.5, 8 * 16, 8) for step in (5, 10, 20, 30, 40)
    ]
    assert {each.auc.value for each in conditional_auc(oracle, mixed)} == {1.0}
    assert [each.auc.value for each in conditional_auc(late, mixed)] == [0.5, 0.5, 1.0, 1.0, 1.0]
    assert {each.auc.value for each in conditional_auc(unable, mixed)} == {0.5}


def test_failures_that_have_begun_are_no_forecast():
    mixed = labels(
        label("early", Kind.STUCK, 15, setting=("s",)),
        label("late", Kind.STUCK, 90, setting=("s",)),
        label("held", setting=("s",)),
        label("grey", Kind.GREY, setting=("s",)),
        label("other", setting=("t",)),
    )
    scores = {name: np.full(240, float(name == "early")) for name in mixed}
    before = conditional_auc(scores, mixed, steps=(10, 20))
    assert [(each.pairs, each.auc.value) for each in before] == [(2, 0.75), (1, 0.5)]
    assert conditional_auc(scores, mixed, before_onset=False, steps=(20,))[0].pairs == 2
    # One setting says nothing of how settings differ.
    assert before[0].auc.low is None
