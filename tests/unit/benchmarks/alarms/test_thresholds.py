"""Episodes, and thresholds that keep a budget of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from unit.benchmarks.alarms.made import label, labels, made, steps

from benchmarks.alarms.announcing import alarms, begun, both, either, episodes, held
from benchmarks.alarms.causality import looks_ahead
from benchmarks.alarms.folds import leave_one_optimizer_out, leave_one_out, leave_one_placement_out
from benchmarks.alarms.labels import Kind
from benchmarks.alarms.thresholds import Starts, calibrate

# Few values, so that ties are common.
SCORES = arrays(float, st.integers(1, 80), elements=st.sampled_from([np.nan, -np.inf, 0.0, 1.0, 2.0, 3.0]))


def test_alarms_are_announced_at_the_third_step_in_a_row_and_last():
    scores = np.array([0, 5, 5, 5, 5, 0, 5, 5, np.nan, 5, 5, 5], float)
    assert alarms(scores, 1.0).tolist() == [3, 4, 11]
    assert alarms(scores, 5.0).tolist() == []
    assert alarms(scores, 1.0, hold=1).tolist() == [1, 2, 3, 4, 6, 7, 9, 10, 11]


def test_an_alarm_is_announced_at_the_third_step_in_a_row_and_once():
    scores = np.array([2, 2, 0, 2, 2, 2, 2, np.nan, 2, 2, 2, 1, 2, 2, 2.0])
    assert begun(scores, 1.0).tolist() == [5, 10, 14]
    assert begun(scores, 1.0, hold=1).tolist() == [0, 3, 8, 12]
    assert begun(scores, 2.0).tolist() == []
    assert begun(np.full(5, np.nan), 0.0).tolist() == []
    assert begun(np.empty(0), 0.0).tolist() == []


def test_alarms_at_most_25_steps_apart_are_one_episode():
    assert episodes(steps(10, 35, 60, 86)).tolist() == [10, 86]
    assert episodes(steps()).tolist() == []


@settings(max_examples=40, derandomize=True)
@given(SCORES)
def test_what_is_held_knows_no_later_step(scores):
    run = made("run", scores)
    assert looks_ahead(lambda r: held(r.loss - 3.0), run, range(1, len(scores))) is None


@settings(max_examples=40, derandomize=True)
@given(SCORES, st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0]))
def test_no_alarm_hangs_on_a_later_step(scores, threshold):
    whole = alarms(scores, threshold)
    for n in range(len(scores)):
        assert np.array_equal(alarms(scores[:n], threshold), whole[whole < n])


def test_a_series_that_looks_ahead_is_caught():
    run = made("run", np.arange(20.0))
    assert looks_ahead(lambda r: r.loss - r.loss.mean(), run, [10]) == 0
    assert looks_ahead(lambda r: np.r_[r.loss[1:], 0.0], run, [10]) == 9
    assert looks_ahead(lambda r: r.loss[:5], run, [10]) == 5


def test_two_witnesses():
    first, second = steps(10, 50, 100), steps(25, 71, 100)
    # 25 is backed by 10; 50 and 71 are 21 steps apart; 100 is backed at once.
    assert both(first, second).tolist() == [25, 100]
    assert both(second, first).tolist() == [25, 100]
    assert both(first, steps()).tolist() == []
    assert either(first, second).tolist() == [10, 25, 50, 71, 100]


@settings(max_examples=40, derandomize=True)
@given(st.lists(SCORES, min_size=1, max_size=4), st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
def test_the_threshold_is_the_lowest_from_which_on_the_budget_is_kept(runs, most):
    def count(threshold):
        return sum(len(episodes(alarms(scores, threshold))) for scores in runs)

    everywhere = [Starts.of(scores, np.ones(len(scores), bool)) for scores in runs]
    chosen = Starts.together(everywhere).lowest(most)
    candidates = sorted({v for scores in runs for v in held(scores) if v > -np.inf})
    kept = [c for c in candidates if all(count(d) <= most for d in candidates if d >= c)]
    assert chosen == (kept[0] if kept else np.inf)
    assert count(chosen) <= most


def test_only_starts_in_counted_steps_spend_the_budget():
    scores = np.zeros(100)
    scores[10:15], scores[60:65] = 5.0, 4.0
    counted = np.arange(100) >= 50
    assert Starts.of(scores, counted).lowest(0) == 4.0
    assert Starts.of(scores, ~counted).lowest(0) == 5.0


def two_placements():
    rng = np.random.default_rng(0)
    found = labels(
        *(label(f"pre{k}", arch="pre_norm", family=("pre",)) for k in range(50)),
        *(label(f"post{k}", arch="post_norm", family=("post",)) for k in range(50)),
        label("stuck", Kind.STUCK, 100, arch="post_norm", family=("post",)),
        label("grey", Kind.GREY, arch="pre_norm", family=("pre",)),
    )
    return found, {name: rng.normal(0, 1, 240) for name in found}


def test_a_fold_is_judged_by_a_threshold_of_the_others():
    found, scores = two_placements()
    folds = leave_one_placement_out(found)
    assert [fold.name for fold in folds] == ["post_norm", "pre_norm"]
    calibrated = calibrate(scores, found, folds)
    assert set(calibrated.alarms) == set(found)
    # Half an alarm in 1,000 of 50 x 240 steps: six of them, on the runs it was chosen on.
    by_fold = {chosen.fold: chosen for chosen in calibrated.chosen}
    assert by_fold["post_norm"].trained_on == 12_000
    spent = sum(len(episodes(alarms(scores[f"pre{k}"], by_fold["post_norm"].threshold))) for k in range(50))
    assert spent == 6
    assert calibrated.armed["stuck"] == 2
    # What is held out has no say: neither its scores nor a grey or failed run's.
    changed = {
        name: s + 100 * (name.startswith("post") or name in ("stuck", "grey")) for name, s in scores.items()
    }
    again = calibrate(changed, found, folds)
    assert again.chosen[0] == calibrated.chosen[0]
    assert again.chosen[1].threshold > calibrated.chosen[1].threshold


def test_scores_may_be_fitted_to_each_fold():
    found, scores = two_placements()
    seen = []

    def of(fold):
        seen.append(fold.name)
        return scores

    folds = leave_one_placement_out(found)
    fitted, fixed = calibrate(of, found, folds), calibrate(scores, found, folds)
    assert seen == ["post_norm", "pre_norm"]
    assert fitted.chosen == fixed.chosen
    assert all(np.array_equal(fitted.alarms[n], fixed.alarms[n]) for n in found)


def test_a_score_that_never_says_anything_never_alarms():
    found, scores = two_placements()
    silent = calibrate({n: np.full(240, np.nan) for n in scores}, found, leave_one_placement_out(found))
    assert all(len(each) == 0 for each in silent.alarms.values())
    assert set(silent.armed.values()) == {240}


def test_folds_that_split_a_family_or_leave_nothing_are_refused():
    one = labels(label("a", family=("f",)), label("b", family=("f",), optimizer="muon"))
    with pytest.raises(ValueError, match="two folds"):
        leave_one_optimizer_out(one)
    with pytest.raises(ValueError, match="nothing to choose"):
        leave_one_placement_out(one)
    folds = leave_one_out(labels(label("a"), label("b")), lambda each: each.name)
    assert all(fold.train.isdisjoint(fold.held_out) for fold in folds)
