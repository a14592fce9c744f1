"""How a run stands, from its loss alone; and a diagnosis that goes on where it was broken off."""

import json
import math

import pytest

from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.detect.loss_means import LossMeans
from stabilitykit.records import Severity, StepRecord

LOSS, UNIGRAM = "train/loss", "train/unigram_cross_entropy"
RMS = "act/rms/blocks.00.resid_post"
N = 120
LEARNING = [2.0 + 3.0 * math.exp(-i / 20) for i in range(N)]


def diagnosed(loss, **columns):
    diagnosis = Diagnosis()
    for i, value in enumerate(loss):
        readings = {LOSS: value} | {tag.replace("__", "/"): column[i] for tag, column in columns.items()}
        diagnosis.update(StepRecord.of(i, {tag: x for tag, x in readings.items() if x is not None}))
    return diagnosis


def changed(values, changes):
    return [changes.get(i, value) for i, value in enumerate(values)]


def test_without_a_step_or_without_a_loss_nothing_is_known():
    empty = Diagnosis().verdict()
    assert (empty.outcome, empty.steps, empty.incidents) == ("unknown", 0, ())
    assert empty.reason == "no step was recorded"
    unseen = diagnosed([None] * 50, optim__lr=[1e-3] * 50).verdict()
    assert (unseen.outcome, unseen.steps) == ("unknown", 50)
    assert unseen.reason == "no loss was recorded in 50 steps"


def test_a_run_that_learns_is_stable():
    verdict = diagnosed(LEARNING).verdict()
    assert (verdict.outcome, verdict.steps, verdict.complete) == ("stable", N, True)
    assert diagnosed(LEARNING).verdict(complete=False).complete is False


def test_a_spike_that_went_is_recovered_and_one_at_the_end_too():
    verdict = diagnosed(changed(LEARNING, {60: 9.0})).verdict()
    assert verdict.outcome == "recovered"
    assert "loss_spike at step 60" in verdict.reason
    # Of unlike heights: bumps that are alike and recur are a habit of the run.
    spikes = {40: 9.0, 60: 14.0, 80: 22.0, 100: 34.0, N - 1: 52.0}
    several = diagnosed(changed(LEARNING, spikes)).verdict()
    assert several.outcome == "recovered"
    assert several.reason.endswith("and 2 more")


def test_a_loss_that_stays_up_is_diverged_and_one_that_came_back_recovered():
    up = LEARNING[:60] + [4.0] * 60
    verdict = diagnosed(up).verdict()
    assert verdict.outcome == "diverged"
    assert "above its best" in verdict.reason
    assert [(i.kind, i.is_open) for i in verdict.incidents] == [("loss_spike", False), ("divergence", True)]
    back = diagnosed(LEARNING[:60] + [4.0] * 30 + [2.1] * 30).verdict()
    assert back.outcome == "recovered"
    assert "divergence at step" in back.reason


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_ends_as_no_number_is_diverged(bad):
    verdict = diagnosed(changed(LEARNING, {N - 1: bad})).verdict()
    assert (verdict.outcome, verdict.reason) == ("diverged", f"the last loss, at step {N - 1}, is {bad}")
    assert diagnosed(changed(LEARNING, {0: bad})).verdict().outcome == "recovered"
    # The last loss is what counts, not the last record; and it is its step that is named.
    late = diagnosed([*changed(LEARNING, {N - 1: bad}), None, None], optim__lr=[1e-3] * (N + 2)).verdict()
    assert (late.outcome, late.reason) == ("diverged", f"the last loss, at step {N - 1}, is {bad}")


def test_a_run_parked_at_the_unigram_distribution_is_stuck_until_it_learns():
    unigram = {"train__unigram_cross_entropy": [3.0] * N}
    parked = diagnosed([3.01] * N, **unigram).verdict()
    assert parked.outcome == "stuck"
    assert "unigram" in parked.reason
    assert diagnosed([3.01] * 70 + [2.5] * 50, **unigram).verdict().outcome == "recovered"
    assert diagnosed([3.01] * N).verdict().outcome == "stable"


def test_divergence_goes_before_stuck():
    unigram = {"train__unigram_cross_entropy": [3.0] * 200}
    both = diagnosed(LEARNING[:60] + [3.2] * 140, **unigram).verdict()
    assert {i.kind for i in both.incidents if i.is_open} == {"divergence", "stuck"}
    assert both.outcome == "diverged"


def test_internal_incidents_stand_beside_the_verdict_and_do_not_change_it():
    verdict = diagnosed(LEARNING, **{RMS: [1.0] * 60 + [400.0] * 30 + [math.nan] * 30}).verdict()
    assert [i.kind for i in verdict.incidents] == ["activation_blow_up", "nonfinite"]
    assert all(i.severity is not Severity.INFO for i in verdict.incidents)
    assert verdict.outcome == "stable"


def test_info_is_never_an_incident():
    norm = changed([1.0] * N, {60: 50.0, 80: 50.0})
    verdict = diagnosed(LEARNING, optim__grad_norm=norm).verdict()
    assert (verdict.outcome, verdict.incidents) == ("stable", ())


EVENTFUL = {
    LOSS: changed(LEARNING[:70] + [3.5] * 25 + [2.1] * 25, {30: 9.0, 33: math.nan, 34: 8.0, N - 1: math.inf}),
    UNIGRAM: [3.0 if i % 10 else None for i in range(N)],
    "optim/grad_norm": changed([1.0] * N, {29: 900.0, 33: math.inf, 60: 30.0}),
    RMS: [None if i % 7 == 3 else 1.0 if i < 40 else 70.0 if i < 62 else 1.0 for i in range(N)],
    "grad/share/blocks.00": [0.3 if i < 50 else 1e-4 * 0.98 ** min(i - 50, 40) for i in range(N)],
    "grad/share/blocks.01": [0.9] * N,
    "grad/share/embed": [1e-5 if i < 50 else 1e-9 for i in range(N)],
}
RECORDS = [
    StepRecord.of(2 * i, {tag: column[i] for tag, column in EVENTFUL.items() if column[i] is not None})
    for i in range(N)
]


@pytest.mark.slow
def test_resumed_from_json_at_any_record_the_rest_is_the_same():
    whole, broken = Diagnosis(), Diagnosis()
    expected = [repr(whole.update(record)) for record in RECORDS]
    untold = repr(whole.untold())
    kinds = {incident.kind for incident in whole.incidents}
    assert kinds == {
        *("loss_spike", "nonfinite", "gradient_spike", "activation_blow_up"),
        *("vanishing_gradient", "divergence"),
    }
    assert sum("'closed'" in each for each in expected) >= 5
    for cut, record in enumerate(RECORDS):
        resumed = Diagnosis()
        resumed.load_state_dict(json.loads(json.dumps(broken.state_dict())))
        assert [repr(resumed.update(each)) for each in RECORDS[cut:]] == expected[cut:], cut
        assert repr(resumed.verdict()) == repr(whole.verdict()), cut
        assert repr(resumed.untold()) == untold, cut
        broken.update(record)


def test_what_was_announced_up_to_a_step_does_not_depend_on_what_comes_after():
    whole = Diagnosis()
    expected = [repr(whole.update(record)) for record in RECORDS]
    for cut in (0, 31, 45, 75, 100):
        part = Diagnosis()
        assert [repr(part.update(record)) for record in RECORDS[:cut]] == expected[:cut]


def test_the_summary_of_losses():
    assert repr(LossMeans([]).summary()) == "LossSummary(final=nan, best=nan)"
    assert LossMeans([3.0, 1.0, 2.0]).summary().final == 2.0
    assert LossMeans([3.0, 1.0, 2.0]).summary().best == 1.0
    falling = [100.0 - i for i in range(100)]
    assert LossMeans(falling).summary().final == pytest.approx(3.0)
    assert LossMeans(falling).summary().best == pytest.approx(3.0)
    spoiled = LossMeans([*falling, *([math.nan] * 5)]).summary()
    assert math.isnan(spoiled.final)
    assert spoiled.best == pytest.approx(3.0)
    assert math.isnan(LossMeans([math.nan] * 40).summary().best)
