"""The few runs that are kept with the code, and what is published of all."""

from pathlib import Path

import pytest

from benchmarks.alarms import frozen
from benchmarks.alarms.dataset import read_dataset
from benchmarks.alarms.folder import ARMS
from benchmarks.alarms.kinds import told
from benchmarks.alarms.labels import FAILED, Kind, label_runs
from benchmarks.alarms.locked import read_limits
from benchmarks.alarms.series import RULES
from benchmarks.alarms.signals import SIGNALS
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.detect.explanation import explanation
from stabilitykit.detect.measured import measured
from stabilitykit.records import KINDS

RUNS = read_dataset(Path(frozen.__file__).with_name("frozen"))
SINCE = ("update_spike",)
"""Kinds that alarm since these runs were trained."""
NAMED = {
    "learning_rate": "update_spike",
    "lost_moments": "update_spike",
    "huge_gradient": "gradient_spike",
    "repeated_token": "gradient_spike",
    "shuffled_labels": "loss_spike",
}
"""What faults are called by what they do."""


def test_every_arm_is_there_in_little_space():
    assert {run.arm for run in RUNS} == set(ARMS)
    size = sum(file.stat().st_size for file in Path(frozen.__file__).with_name("frozen").iterdir())
    assert size <= frozen.LIMIT


def test_a_replay_says_what_the_run_said():
    for run in RUNS[::6]:
        diagnosis = Diagnosis()
        for record in run.records():
            diagnosis.update(record)
        verdict = diagnosis.verdict(complete=True)
        assert str(verdict.outcome) == run.result["outcome"]
        now = [(each.kind, each.detected) for each in verdict.incidents if each.kind not in SINCE]
        assert now == [(each["kind"], each["detected"]) for each in run.result["incidents"]]


def test_labels_look_at_the_loss_alone():
    labels = label_runs(RUNS)
    assert all((label.kind in FAILED) == bool(label.events) for label in labels.values() if natural(label))
    parked = [run for run in RUNS if run.result["outcome"] == "stuck" and natural(labels[run.name])]
    assert parked
    assert all(labels[run.name].kind not in (Kind.HEALTHY, Kind.GREY) for run in parked)


def natural(label):
    return label.kind not in (Kind.SPIKING, Kind.INJECTED)


def test_a_fault_is_named_on_its_step_or_the_next():
    found = [run for run in RUNS if run.config.get("fault", {}).get("kind") in NAMED]
    assert found
    for run in found:
        fault = run.config["fault"]
        steps = told(run).alarms(NAMED[fault["kind"]])
        assert {fault["step"], fault["step"] + 1} & set(steps.tolist())


def test_frozen_limits_are_of_known_signals():
    limits = read_limits()
    assert limits
    assert set(limits) <= set(SIGNALS)
    assert {limit["rule"] for limit in limits.values()} <= set(RULES)


@pytest.mark.parametrize("kind", KINDS)
def test_an_explanation_quotes_what_was_measured(kind):
    row = measured()[kind]
    text = explanation(kind)
    assert f"Of {row.events} failures" in text
    assert f"{row.recall[5]:.0%} by 5 or more" in text
    assert f"{row.false_per_thousand[0]:.2g} false alarms per 1,000" in text
