"""What is measured of our own models: nothing lost, nothing changed, and what does not fit is not begun."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch

from stabilitykit.errors import DataError
from stabilitykit.lab.cost import COMPARISONS, Variant, Workload, cost_document, priced, variants
from stabilitykit.lab.cost.growth import growth
from stabilitykit.lab.cost.measured import rounds
from stabilitykit.lab.cost.measured.measurement import Measurement
from stabilitykit.lab.cost.measured.norm_kernels import use_norm_kernels
from stabilitykit.lab.cost.measured.own import CACHE, COPIES, MASKS, done_by
from stabilitykit.lab.cost.measured.steps import own_step
from stabilitykit.lab.cost.predicted.optimizer import OptimizerName
from stabilitykit.lab.cost.pricing import Priced
from stabilitykit.lab.cost.spread import median_ratio, spread
from stabilitykit.lab.cost.workload import Mode
from stabilitykit.lab.model import TransformerConfig
from stabilitykit.lab.model.norms import build_norm
from stabilitykit.lab.model.presets import arch_fields, arch_names
from stabilitykit.lab.model.sections import NormConfig
from stabilitykit.lab.nested import merged
from stabilitykit.lab.validation import validated

QUICK = (("llama2", "train"), ("llama2", "decode"), ("gemma2", "train"))
"""A fused kernel; behind a cache; capped logits, windows and shared keys."""
OTHERS = (
    *((arch, "train") for arch in arch_names() if (arch, "train") not in QUICK),
    *((arch, "prefill") for arch in ("llama2", "gpt2", "gemma2")),
    *((arch, "decode") for arch in ("bloom", "gpt2", "gemma2", "t5", "mistral", "llama4")),
)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    """Keep to one round: what is tested is whose time it is, and not how long it is."""
    monkeypatch.setattr(rounds, "FEWEST", 1)
    monkeypatch.setattr(rounds, "WARMUP", 0)


def config(arch: str) -> TransformerConfig:
    """Return an architecture with two layers, or with as many as its pattern has."""
    whole = validated(TransformerConfig, arch_fields(arch))
    return validated(TransformerConfig, merged(arch_fields(arch), {"n_layers": max(2, len(whole.pattern))}))


def measured(each: TransformerConfig, mode: Mode = "train", optimizer: OptimizerName = "adamw") -> Priced:
    workload = Workload(mode, batch=2, length=min(each.seq_len, 64))
    (side,) = priced([Variant("it", each)], workload, optimizer, 0)
    return side


def of(side: Priced) -> Measurement:
    found = side.measurement
    assert found is not None
    return found


def unattributed(side: Priced, each: TransformerConfig, mode: Mode) -> float:
    """Return the share of kernels without an operation, of many rounds where one was disturbed.

    Other programs may keep a kernel of a microsecond waiting for milliseconds; a median does not mind.
    """
    share = of(side).unattributed_share
    if share < 0.03:
        return share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "FEWEST", 15)
        return of(measured(each, mode)).unattributed_share


@pytest.mark.parametrize(
    ("arch", "mode"),
    [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in OTHERS)],
)
def test_every_kernel_is_an_operations_and_every_operation_has_one(arch, mode):
    side = measured(config(arch), mode)
    found = of(side)
    assert unattributed(side, config(arch), mode) < 0.03
    names = {each.name for each in found.operations}
    predicted = {each.name for each in side.prediction.operations}
    assert {name for name in predicted if name not in names and done_by(name) not in names} == set()
    # Dropout that is off is called, and does nothing.
    further = {name for name in names - predicted if not (mode != "train" and name.endswith("dropout"))}
    assert further <= {COPIES, MASKS, CACHE}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_each_optimizer_is_attributed(optimizer):
    found = of(measured(config("llama2"), optimizer=optimizer))
    steps = {each.name for each in found.operations if "step" in each.passes}
    assert steps == {"optimizer.sgd"} if optimizer == "sgd" else steps >= {"optimizer.orthogonalise"}


def test_parts_add_up():
    side = measured(config("llama2"))
    found, told = of(side), side.to_json(None)
    classes = sum(found.of_class(row["class"]) for row in told["classes"])
    passes = sum(found.of_pass(name) for name in ("forward", "backward", "step"))
    assert np.allclose(classes + found.unattributed, found.kernels)
    assert np.allclose(passes + found.unattributed, found.kernels)
    # One kernel of torch's after another, each within its step.
    assert (found.kernels < found.profiled).all()


def test_which_kernel_ran_is_said():
    rows = {row["name"]: row for row in measured(config("llama2")).to_json(None)["operations"]}
    attention = rows["attn.scores"]["measured"]
    assert attention["fused"]
    assert "flash_attention" in attention["kernels"]["forward"][0]
    assert rows["attn.softmax"]["measured"] is None
    assert rows["attn.softmax"]["done_by"] == "attn.scores"
    # Ours, on a CPU: several operations forward.
    assert not rows["attn_norm"]["measured"]["fused"]
    eager = {row["name"]: row for row in measured(config("gemma2")).to_json(None)["operations"]}
    assert eager["attn.softmax"]["measured"]["kernels"]["forward"]
    assert eager["attn.softmax"]["done_by"] is None


@pytest.mark.slow
def test_a_watched_training_has_the_monitors_work_beside_its_own():
    alone, watched = variants("monitor", arch_fields("llama2"))
    sides = priced([alone, watched], Workload(batch=2, length=64), "adamw", 0)
    plain, with_monitor = ({each.name for each in of(side).operations} for side in sides)
    assert with_monitor - plain == {"monitor"}


@pytest.mark.slow
def test_sides_are_paired_and_their_ratios_have_intervals():
    fields = arch_fields("llama2")
    sides = priced(variants("placement", fields), Workload(batch=2, length=32), "adamw", 0)
    told = cost_document(sides, None).to_json()
    assert [each["arch"] for each in told["compared"]] == ["post_norm", "double_norm"]
    for each in told["compared"]:
        step = each["measured_ratios"]["step"]
        assert 0 < step["low"] <= step["median"] <= step["high"]
        assert each["measured"]["rounds"] == told["measured"]["rounds"] == 1


@pytest.mark.slow
def test_decoding_is_measured_where_the_cache_grows(monkeypatch):
    monkeypatch.setattr("stabilitykit.lab.cost.growth.GROWTH", (1, 4))
    sides = variants("kv_heads", arch_fields("llama2"))
    rows = [row.to_json() for row in growth(sides, Workload("decode", 2, 32), "adamw", None, 0)]
    assert [row["cache"] for row in rows] == [32] * 3 + [128] * 3
    for row in rows:
        assert 0 < row["measured"]["attention_s"]["median"] < row["measured"]["step_s"]["median"] * 2
    assert rows[0]["measured"]["attention_ratio"]["median"] == 1


def test_what_does_not_fit_is_refused_before_anything_is_built(monkeypatch):
    monkeypatch.setattr("stabilitykit.lab.cost.pricing.memory_available", lambda: 10_000_000)

    def build(*_: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr("stabilitykit.lab.cost.pricing.own_step", build)
    both = [Variant("one", config("llama2")), Variant("other", config("llama2"))]
    with pytest.raises(
        DataError, match=r"memory: needs .* and 9\.5 MiB are available; try a smaller --scale"
    ):
        priced(both, Workload(), "adamw", 0)
    # Predicting allocates nothing.
    assert len(priced(both, Workload(), "adamw", None)) == 2


@pytest.mark.parametrize("kernels", ["library", "composite"])
@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
def test_norms_by_other_kernels_give_the_same(kind, kernels):
    section = NormConfig(kind=kind, gain=True, bias=kind == "layernorm")
    own, other = build_norm(section, 48), build_norm(section, 48)
    with torch.no_grad():
        for each in own.parameters():
            each.normal_(1, 0.3)
    other.load_state_dict(own.state_dict())
    use_norm_kernels(other, kernels)
    x = torch.randn(4, 7, 48, generator=torch.Generator().manual_seed(0)) * 3 + 1
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.testing.assert_close(own(one), other(two), rtol=1e-5, atol=1e-5)
    own(one).square().sum().backward()
    other(two).square().sum().backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_norms_of_a_comparison_run_what_they_are_called_after():
    sides = {each.label: each for each in variants("norm", arch_fields("llama2"))}
    ran: dict[str, str] = {}
    for label in ("LayerNorm, torch's", "RMSNorm, torch's", "LayerNorm, composite", "RMSNorm, composite"):
        (side,) = priced([sides[label]], Workload(batch=2, length=32), "adamw", 0)
        norm = next(each for each in of(side).operations if each.name == "attn_norm")
        ran[label] = " ".join(norm.kernels["forward"])
    assert ran["LayerNorm, torch's"] == "native_layer_norm"
    for label in ("RMSNorm, torch's", "LayerNorm, composite", "RMSNorm, composite"):
        assert len(ran[label].split()) > 2
        assert "native" not in ran[label]
    assert "linalg_vector_norm" not in ran["RMSNorm, composite"]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARISONS)
def test_every_ready_comparison_is_measured(name):
    workload = Workload(COMPARISONS[name].mode or "train", 2, 64)
    sides = variants(name, arch_fields("llama2"))
    for side, one in zip(priced(sides, workload, "adamw", 0), sides, strict=True):
        assert unattributed(side, one.config, workload.mode) < 0.03


def test_a_step_leaves_nothing_behind_on_its_model():
    with ExitStack() as opened:
        step = own_step(Variant("it", config("llama2")), Workload(batch=2, length=16), "adamw", opened)
        rounds.run_rounds([step], 0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in step.model.modules())


def test_medians_come_with_quartiles_and_ratios_with_intervals():
    assert spread([1.0, 2.0, 3.0, 4.0, 9.0]) == (3, 2, 4)
    rng = np.random.default_rng(0)
    other = rng.uniform(1, 2, 200)
    ratio = median_ratio(other * 1.5 * rng.normal(1, 0.01, 200), other)
    assert ratio.low < ratio.median < ratio.high
    assert ratio.median == pytest.approx(1.5, abs=0.01)
    assert ratio.high - ratio.low < 0.01
