"""Nothing that warns looks ahead: a run cut short gives the same scores and alarms up to there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_runs import made_up

from benchmarks.alarms.announcing import begun
from benchmarks.alarms.fixed import FIXED
from benchmarks.alarms.folder import read_run
from benchmarks.alarms.kinds import told
from benchmarks.alarms.peers import PEERS, SCORES
from benchmarks.alarms.signals import scores_of
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.lab.probe import build_spec, probe
from stabilitykit.lab.sweep.grid import CellResult, write_result
from stabilitykit.records import KINDS, Severity

N = 90


def assert_causal(run, at):
    cut = run.until(at)
    last = run.steps[at - 1]
    whole, part = scores_of(run), scores_of(cut)
    whole |= {(name, "peer"): score(run) for name, score in SCORES.items()}
    part |= {(name, "peer"): score(cut) for name, score in SCORES.items()}
    for key, scores in whole.items():
        np.testing.assert_array_equal(scores[:at], part[key], err_msg=str(key))
        threshold = 3.0
        early = [place for place in begun(scores, threshold) if place < at]
        assert early == begun(part[key], threshold).tolist(), key
    for name, rule in {**FIXED, **PEERS}.items():
        early = [step for step in rule(run).tolist() if step <= last]
        assert early == rule(cut).tolist(), name
    said, before = told(run), told(cut)
    for kind in KINDS:
        for severity in Severity:
            early = [step for step in said.alarms(kind, severity).tolist() if step <= last]
            assert early == before.alarms(kind, severity).tolist(), kind


@settings(max_examples=6)
@given(st.integers(0, 10_000), st.integers(1, N - 1))
def test_a_made_up_run_cut_short_gives_the_same(seed, at):
    assert_causal(made_up(seed, n=N), at)


def test_the_check_sees_a_score_that_looks_ahead(monkeypatch):
    monkeypatch.setitem(SCORES, "loss to come", lambda run: np.roll(run.loss, -1))
    with pytest.raises(AssertionError, match="loss to come"):
        assert_causal(made_up(0, n=N), 50)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that was trained for this, too fast for its norms; with its folder's verdict."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    model = ["model.d_model=32", "model.n_layers=4", "model.seq_len=32", "model.attention.n_heads=4"]
    settings = ["optimizer.lr=0.1", "schedule.warmup=0", "trainer.steps=70", "data.batch_size=4"]
    verdict = probe(build_spec("post_norm", overrides=model + settings), folder).verdict
    write_result(folder, CellResult(verdict.outcome, verdict.reason, steps=70))
    return read_run(folder, "boundary"), verdict


@pytest.mark.slow
@pytest.mark.parametrize("at", [9, 11, 33, 50])
def test_a_trained_run_cut_short_gives_the_same(trained, at):
    run, _ = trained
    assert run.n_steps == 70
    assert_causal(run, at)


@pytest.mark.slow
def test_a_trained_run_replayed_gives_the_incidents_it_gave_live(trained):
    run, verdict = trained
    diagnosis = Diagnosis()
    for record in run.records():
        diagnosis.update(record)
    assert verdict.incidents
    assert diagnosis.verdict() == verdict
