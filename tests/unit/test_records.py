"""The vocabulary survives JSON, and non-finite numbers with it."""

import json
import math
import pickle

import numpy as np
import pytest

from stabilitykit.records import Finding, Incident, Severity, StepRecord, Verdict


def finding(value: float = 2.0, threshold: float = 1.0) -> Finding:
    return Finding("loss_spike", "train/loss", 7, 5, value, threshold, Severity.WARNING, "up")


def incident(value: float = 2.0) -> Incident:
    return Incident(
        id=3,
        kind="loss_spike",
        start=5,
        detected=7,
        peak=8,
        end=None,
        site="train/loss",
        severity=Severity.CRITICAL,
        value=value,
        threshold=1.0,
        message="up",
        causes=("a",),
        remedies=("b", "c"),
        evidence=(finding(), finding(math.inf, math.inf)),
    )


def test_a_step_record_is_rounded_to_float32_and_cannot_be_changed() -> None:
    record = StepRecord.of(4, {"train/loss": 0.1, "optim/lr": 1e-3})
    assert record.readings["train/loss"] == float(np.float32(0.1))
    assert tuple(record.readings) == ("train/loss", "optim/lr")
    with pytest.raises(ValueError, match="read-only"):
        record.values[0] = 1.0
    with pytest.raises(TypeError):
        record.readings["train/loss"] = 1.0  # type: ignore[index]


def test_records_are_equal_when_their_numbers_are_and_nan_equals_nan() -> None:
    one = StepRecord.of(4, {"train/loss": math.nan})
    assert one == StepRecord.of(4, {"train/loss": math.nan})
    assert one != StepRecord.of(4, {"train/loss": 1.0})
    assert one != StepRecord.of(5, {"train/loss": math.nan})
    assert one != "a record"


@pytest.mark.parametrize("value", [2.0, math.inf, -math.inf, math.nan])
def test_incidents_survive_json_without_a_nan_literal(value: float) -> None:
    before = incident(value)
    text = json.dumps(before.to_json(), allow_nan=False)
    after = Incident.from_json(json.loads(text))
    assert repr(after) == repr(before)
    document = json.loads(text)
    if not math.isfinite(value):
        assert document["value"] is None
        assert document["nonfinite"] == str(value)


def test_a_verdict_survives_json() -> None:
    before = Verdict("recovered", "it came back", True, 300, (incident(),))
    assert Verdict.from_json(json.loads(json.dumps(before.to_json()))) == before
    assert str(before) == "recovered"


def test_severities_are_ordered() -> None:
    assert Severity.INFO.rank < Severity.WARNING.rank < Severity.CRITICAL.rank


def test_a_record_pickles_whether_it_was_read_or_not() -> None:
    record = StepRecord.of(3, {"train/loss": 1.5, "act/rms": math.nan})
    assert pickle.loads(pickle.dumps(record)) == record
    assert record.readings["train/loss"] == 1.5
    assert pickle.loads(pickle.dumps(record)) == record
