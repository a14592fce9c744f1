"""Claims of costs: what holds, what does not, what is undecided, and what is wrong in a recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stabilitykit.errors import ConfigError
from stabilitykit.lab.claims.costs import (
    CostClaim,
    CostClaimResult,
    check_cost_claims,
    judge_costs,
    read_cost_recipe,
)
from stabilitykit.lab.cost import Priced, Workload, predict, variants
from stabilitykit.lab.cost.measured.measurement import MeasuredOperation, Measurement
from stabilitykit.lab.model.presets import arch_fields

ROUNDS = 8
RECIPE = """
question: Which?
workloads:
  norms: {compare: placement}
claims:
  - says: it is so
    workload: norms
    measure: time
    band: [0, 1]
"""


def side(label: str, norm: Sequence[float], product: Sequence[float]) -> Priced:
    """Return a model of which a norm and a product were timed; the step takes twice as long."""
    (first, *_) = variants("placement", arch_fields("pre_norm"))
    seconds = {"attn_norm": np.array(norm), "attn.q_proj": np.array(product)}
    operations = (
        MeasuredOperation("attn_norm", "normalisation", {"forward": seconds["attn_norm"]}, {"forward": ()}),
        MeasuredOperation("attn.q_proj", "contraction", {"forward": seconds["attn.q_proj"]}, {"forward": ()}),
    )
    whole = seconds["attn_norm"] + seconds["attn.q_proj"]
    measured = Measurement(operations, 2 * whole, 2 * whole, np.zeros(len(whole)))
    return Priced(label, predict(first.config, Workload("train", 2, 16)), measured)


@pytest.fixture(scope="module")
def sides() -> list[Priced]:
    """A quick model, and one whose norm takes between 1.5 and 2.5 times as long."""
    rising = np.linspace(1.5, 2.5, ROUNDS)
    return [side("quick", [1.0] * ROUNDS, [3.0] * ROUNDS), side("slow", list(rising), [3.0] * ROUNDS)]


def judged(sides: list[Priced], **claim: Any) -> CostClaimResult:
    """Return what becomes of one claim."""
    made = CostClaim.model_validate({"says": "so", "workload": "norms"} | claim)
    check_cost_claims([made], {"norms": sides})
    (result,) = judge_costs([made], {"norms": sides})
    return result


def test_a_share_of_time_over_one_of_flops(sides: list[Priced]) -> None:
    flops = sides[0].prediction
    share = sum(e.total.flops for e in flops.operations if e.op_class == "normalisation") / flops.total.flops
    result = judged(
        sides, measure="time_share", of="normalisation", over={"measure": "flops_share"}, band=[5, None]
    )
    assert result.value == pytest.approx(0.25 / share)
    assert (result.outcome, result.rounds) == ("holds", ROUNDS)


@pytest.mark.parametrize(
    ("band", "outcome"),
    [([1, None], "holds"), ([None, 1], "does not hold"), ([2, None], "undecided"), ([1.4, 2.6], "holds")],
)
def test_two_variants_are_compared_round_by_round(sides: list[Priced], band: list[Any], outcome: str) -> None:
    result = judged(sides, measure="time", of="*norm", variant="slow", over={"variant": "quick"}, band=band)
    assert result.value == pytest.approx(2)
    assert result.low is not None
    assert result.high is not None
    assert 1.5 <= result.low < 2 < result.high <= 2.5
    assert result.outcome == outcome


def test_steps_and_all_kernels_are_whole(sides: list[Priced]) -> None:
    assert judged(sides, measure="step", band=[8, 8.1]).value == pytest.approx(8)
    assert judged(sides, measure="time", band=[4, 4.1]).value == pytest.approx(4)
    both = judged(sides, measure="time_share", of=["normalisation", "contraction"], band=[1, None])
    assert both.value == pytest.approx(1)


def test_without_a_run_what_is_computed_is_judged_alone(sides: list[Priced]) -> None:
    predicted = [each.__class__(each.label, each.prediction) for each in sides]
    assert judged(predicted, measure="step", band=[0, 1]).outcome == "not measured"
    result = judged(predicted, measure="bytes", variant="slow", over={"variant": "quick"}, band=[1, 2])
    assert (result.outcome, result.value, result.rounds) == ("holds", 1.0, 0)


def test_a_division_by_nothing_is_undecided(sides: list[Priced]) -> None:
    result = judged(sides, measure="time", over={"of": "element-wise"}, band=[1, None])
    assert (result.outcome, result.value, result.note) == ("undecided", None, "divided by nothing")


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"variant": "slo"}, "claim 1: variant: got 'slo'; did you mean 'slow'?"),
        ({"of": "normalization"}, "claim 1: of: got 'normalization'; did you mean 'normalisation'"),
        ({"over": {"variant": "x"}}, "claim 1: over.variant: got 'x'; accepted: quick, slow"),
    ],
)
def test_a_claim_that_does_not_fit_is_refused(sides: list[Priced], claim: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        judged(sides, measure="time", band=[0, 1], **claim)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("measure: time", "measure: tim", "claims.0.measure: got 'tim'; did you mean 'time'"),
        ("band: [0, 1]", "band: [1, 0]", "claims.0.band: got [1.0, 0.0]; must be [low, high]"),
        ("workload: norms", "workload: norm", "claim 1: workload: got 'norm'; did you mean 'norms'?"),
        ("{compare: placement}", "{batch: 0}", "workloads.norms.batch: got 0; must be at least 1"),
        ("{compare: placement}", "{cache: 5}", "workloads.norms.cache: got 5; not in --mode train"),
        (
            "{compare: placement}",
            "{optimizer: adam}",
            "workloads.norms.optimizer: got 'adam'; did you mean 'adamw'",
        ),
        ("{compare: placement}", "{hf: x, arch: gpt2}", "workloads.norms.arch: got gpt2; not with --hf"),
        ("measure: time", "measure: step\n    of: attn_norm", "claims.0.of: got 'attn_norm'; step is of the"),
        ("band: [0, 1]", "band: [0, 1]\n    over: {by: 1}", "claim 1: over.by: not a known field"),
        ("question: Which?", "axes: {}", "axes: is of a sweep"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_told_in_a_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "costs.yaml"
    file.write_text(RECIPE)
    assert read_cost_recipe(file).claims[0].says == "it is so"
    file.write_text(RECIPE.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        read_cost_recipe(file)
    assert str(refused.value).startswith(f"{file}: {said}")
