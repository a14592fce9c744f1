"""The rules on the readings of a first step, on readings made up for them."""

import math

import pytest

from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.probe.checks.report import CheckFinding, CheckReport
from stabilitykit.lab.probe.checks.rules import RULES, failure_at_start
from stabilitykit.records import Severity

MODEL = TransformerConfig(n_layers=4)


def healthy(**changes: float) -> dict[str, float]:
    """Return readings that no rule minds; names have ``__`` for ``/`` and ``_dot_`` for a dot."""
    readings = {"train/loss": math.log(256) + 0.2}
    for block in range(4):
        site = f"blocks.{block:02d}"
        readings |= {
            f"grad/norm/{site}": 2.0 / (block + 1),
            f"act/rms/{site}.resid_pre": 1.0 + block,
            f"act/rms/{site}.attn_norm_in": 1.0 + block,
            f"act/rms/{site}.attn_out": 0.5,
            f"act/rms/{site}.resid_post": math.sqrt(1.0 + block),
            f"attn/logit_max/{site}": 4.0,
        }
    return {**readings, **changes}


def findings(readings: dict[str, float], model: TransformerConfig = MODEL) -> dict[str, CheckFinding]:
    found = (rule.judge(model, readings) for rule in RULES)
    return {finding.name: finding for finding in found if finding}


def test_every_rule_speaks_of_a_whole_step_and_none_minds_a_healthy_one():
    found = findings(healthy())
    assert list(found) == [rule.name for rule in RULES]
    assert {finding.severity for finding in found.values()} == {Severity.INFO}
    assert all(not finding.remedies for finding in found.values())


def test_the_values_are_what_they_are_called():
    values = {name: finding.value for name, finding in findings(healthy()).items()}
    assert values == pytest.approx(
        {
            "loss_at_start": 0.2,
            "gradient_first_over_last": 4.0,
            "gradient_last_over_first": 0.25,
            "attention_logits": 4.0,
            "residual_growth": 0.5,
            "norm_epsilon": 1e-5,
            "embedding_scale": 0.5,
        },
        rel=1e-9,
    )


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("loss_at_start", {"train/loss": math.log(256) + 1.1}),
        ("gradient_first_over_last", {"grad/norm/blocks.00": 26.0}),
        ("gradient_last_over_first", {"grad/norm/blocks.00": 0.009}),
        ("attention_logits", {"attn/logit_max/blocks.02": 34.3}),
        ("residual_growth", {"act/rms/blocks.03.resid_post": 17.0}),
        ("norm_epsilon", {"act/rms/blocks.01.attn_norm_in": 3e-3}),
    ],
)
def test_each_rule_warns_beyond_its_limit_alone(name: str, changes: dict[str, float]):
    found = findings(healthy(**changes))
    warned = {each for each, finding in found.items() if finding.severity is not Severity.INFO}
    assert warned == {name}
    assert found[name].severity is Severity.WARNING
    assert found[name].remedies


def test_small_embeddings_are_told_but_are_no_warning():
    found = findings(healthy(**{"act/rms/blocks.00.resid_pre": 0.02}))["embedding_scale"]
    assert (found.severity, found.value) == (Severity.INFO, pytest.approx(25.0))
    assert "2312.16903" in found.message
    assert found.remedies


def test_a_reading_that_is_no_number_is_not_within_a_limit():
    found = findings(healthy(**{"grad/norm/blocks.00": math.nan}))["gradient_first_over_last"]
    assert found.severity is Severity.WARNING


def test_rules_without_their_readings_are_silent():
    one = TransformerConfig(n_layers=1, norm={"kind": "dyt"})  # type: ignore[arg-type]
    readings = {"train/loss": 5.0, "act/rms/blocks.00.resid_post": 1.0}
    assert set(findings(readings, one)) == {"loss_at_start"}


def test_depth_is_sorted_by_its_number_in_deep_models_too():
    readings = {f"grad/norm/blocks.{block:03d}": float(block + 1) for block in reversed(range(120))}
    found = findings({"train/loss": 5.0, **readings})
    assert found["gradient_last_over_first"].value == pytest.approx(120.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_a_failure(loss: float):
    failure = failure_at_start(healthy(**{"train/loss": loss}))
    assert failure is not None
    assert failure.severity is Severity.CRITICAL
    assert failure_at_start(healthy()) is None


def test_a_report_rests_on_its_critical_finding():
    rate = CheckFinding("learning_rate", Severity.INFO, 1e-3, None, "not known")
    failure = CheckFinding("nonfinite", Severity.CRITICAL, math.nan, None, "overflow", ("smaller",))
    assert CheckReport("unknown", (rate,), {}).decisive is rate
    report = CheckReport("unstable", (rate, failure), {"seed": 0})
    assert report.decisive is failure
    document = report.to_json()
    assert (document["expected"], document["config"]) == ("unstable", {"seed": 0})
    assert document["findings"][1]["severity"] == "critical"
    assert document["findings"][1]["remedies"] == ["smaller"]
