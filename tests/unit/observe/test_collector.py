"""A watched step is the bare step, bit for bit, and its readings are what autograd and NumPy say."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from stabilitykit.observe import Collector
from stabilitykit.tags import REGISTRY, split

WIRINGS = ("post_norm", "pre_norm", "double_norm", "out_norm")


def hooks(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Count every hook there is."""
    found = len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)
    for module in model.modules():
        found += len(module._forward_hooks) + len(module._forward_pre_hooks)
        found += len(module._backward_hooks) + len(module._backward_pre_hooks)
    return found + sum(len(p._backward_hooks or ()) for p in model.parameters())


@pytest.mark.parametrize("wiring", WIRINGS)
def test_watching_changes_no_bit(build: Any, step: Any, tokens: Any, wiring: str) -> None:
    ends = []
    for watched in (False, True):
        torch.manual_seed(5)
        model, optimizer = build(wiring=wiring)
        collector = Collector(model, [optimizer]) if watched else None
        if collector:
            collector.attach()
        losses, gradients = [], []
        for n in range(4):
            losses.append(step(model, optimizer, tokens[n : n + 2], collector))
            if collector:
                collector.collect(n)
        loss = model(tokens[0][:, :-1]).square().mean()
        loss.backward()
        gradients = [p.grad.clone() for p in model.parameters()]
        ends.append((losses, gradients, [*model.state_dict().values()], torch.get_rng_state()))
    bare, seen = ends
    assert bare[0] == seen[0]
    assert all(torch.equal(a, b) for a, b in zip(bare[1] + bare[2], seen[1] + seen[2], strict=True))
    assert torch.equal(bare[3], seen[3])


def test_one_host_read_a_step(build: Any, step: Any, tokens: Any) -> None:
    model, optimizer = build()
    collector = Collector(model, [optimizer])
    collector.attach()
    for n in range(5):
        step(model, optimizer, tokens[n : n + 1], collector)
        collector.collect(n)
    assert collector.host_reads == 5


def test_no_item_is_called_while_a_step_is_watched(
    build: Any, step: Any, tokens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = build()
    collector = Collector(model, [optimizer])
    collector.attach()
    step(model, optimizer, tokens[:1], collector)
    collector.collect(0)
    reads: list[str] = []
    bare = step(model, optimizer, tokens[1:2])
    for name in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, name)

        def counted(self: Any, *args: Any, name: str = name, original: Any = original) -> Any:
            reads.append(name)
            return original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    step(model, optimizer, tokens[1:2])
    without = len(reads)
    reads.clear()
    step(model, optimizer, tokens[1:2], collector)
    during = len(reads)
    collector.collect(1)
    assert during == without
    assert reads[during:] == ["numpy"]
    assert math.isfinite(float(bare))


@pytest.mark.parametrize("fail", [False, True])
def test_no_hook_is_left_behind(build: Any, step: Any, tokens: Any, fail: bool) -> None:
    model, optimizer = build()
    before = hooks(model, optimizer)
    collector = Collector(model, [optimizer])
    collector.attach()
    assert hooks(model, optimizer) > before
    if fail:
        with pytest.raises(IndexError):
            step(model, optimizer, tokens[:1] + 1000, collector)
        model.blocks[1].mlp.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            step(model, optimizer, tokens[:1], collector)
        before += 1
    collector.detach()
    collector.detach()
    assert hooks(model, optimizer) == before
    # No attention mode is left active either.
    assert (
        torch.overrides._len_torch_function_stack() == 0
        if hasattr(torch.overrides, "_len_torch_function_stack")
        else torch._C._len_torch_function_stack() == 0
    )


def test_an_attention_that_raises_leaves_no_mode_behind(build: Any, step: Any, tokens: Any) -> None:
    model, optimizer = build()
    collector = Collector(model, [optimizer])
    collector.attach()
    model.blocks[1].attn.o_proj.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        step(model, optimizer, tokens[:1], collector)
    assert torch._C._len_torch_function_stack() == 0


def test_readings_are_what_they_say(build: Any, step: Any, tokens: Any) -> None:
    model, optimizer = build(wiring="double_norm")
    collector = Collector(model, [optimizer])
    collector.attach()
    seen: dict[str, torch.Tensor] = {}
    model.blocks[1].resid_mid.register_forward_hook(lambda m, a, out: seen.update(mid=out.detach().clone()))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    gradients: dict[str, torch.Tensor] = {}
    for n, p in model.named_parameters():
        p.register_post_accumulate_grad_hook(lambda p, n=n: gradients.update({n: p.grad.clone()}))
    loss = step(model, optimizer, tokens[:1], collector)
    readings = collector.collect(0).readings
    total = math.sqrt(sum(g.double().square().sum().item() for g in gradients.values()))
    block = math.sqrt(sum(g.square().sum().item() for n, g in gradients.items() if n.startswith("blocks.1.")))
    change = math.sqrt(
        sum(
            (p - before[n]).square().sum().item()
            for n, p in model.named_parameters()
            if n.startswith("blocks.1.")
        )
    )
    weight = math.sqrt(
        sum(p.square().sum().item() for n, p in model.named_parameters() if n.startswith("blocks.1."))
    )
    assert readings["train/loss"] == pytest.approx(loss.item())
    assert readings["optim/lr"] == pytest.approx(1e-2)
    assert readings["act/rms/blocks.01.resid_mid"] == pytest.approx(
        seen["mid"].square().mean().sqrt().item(), rel=1e-5
    )
    assert readings["act/max_abs/blocks.01.resid_mid"] == pytest.approx(
        seen["mid"].abs().max().item(), rel=1e-6
    )
    assert readings["optim/grad_norm"] == pytest.approx(total, rel=1e-5)
    assert total > 0.5, "the test shows nothing unless clipping bites"
    assert readings["grad/norm/blocks.01"] == pytest.approx(block, rel=1e-5)
    assert readings["grad/share/blocks.01"] == pytest.approx(block / total, rel=1e-5)
    assert readings["optim/update_ratio/blocks.01"] == pytest.approx(change / weight, rel=1e-5)
    # At Adam's first step v̂ = g², so RMS_t is 1 up to ε.
    assert readings["optim/rms_t/blocks.01"] == pytest.approx(1.0, rel=1e-3)
    gain = model.blocks[1].attn_norm.weight
    assert readings["norm/gain_rms/blocks.01.attn_norm"] == pytest.approx(
        gain.square().mean().sqrt().item(), rel=1e-6
    )


def test_shares_are_a_partition(build: Any, step: Any, tokens: Any) -> None:
    model, optimizer = build()
    collector = Collector(model, [optimizer])
    collector.attach()
    step(model, optimizer, tokens[:1], collector)
    readings = collector.collect(0).readings
    shares = [value for tag, value in readings.items() if tag.startswith("grad/share/")]
    assert sum(share**2 for share in shares) == pytest.approx(1.0, rel=1e-5)
    assert [tag for tag in readings if tag.startswith("grad/share/")] == [
        f"grad/share/{group}"
        for group in ("embed", "blocks.00", "blocks.01", "blocks.02", "final_norm", "head")
    ]


@pytest.mark.parametrize("tied", [False, True])
def test_embeddings_have_a_share_of_the_gradient_tied_or_not(
    build: Any, step: Any, tokens: Any, tied: bool
) -> None:
    model, optimizer = build(head={"tied": tied})
    collector = Collector(model, [optimizer])
    collector.attach()
    gradient: list[float] = []
    model.embed.token.weight.register_post_accumulate_grad_hook(lambda p: gradient.append(p.grad.norm()))
    step(model, optimizer, tokens[:1], collector)
    readings = collector.collect(0).readings
    assert readings["grad/share/embed"] >= float(gradient[0]) / readings["optim/grad_norm"] - 1e-6
    assert readings["grad/share/embed"] > 0.01
    assert ("grad/share/head" in readings) != tied
    shares = [value for tag, value in readings.items() if tag.startswith("grad/share/")]
    assert sum(share**2 for share in shares) == pytest.approx(1.0, rel=1e-5)


def test_microbatches_merge_into_the_whole_batch(build: Any, step: Any, tokens: Any) -> None:
    records = []
    for batches in (tokens[:1].reshape(1, 4, 17), tokens[:1].reshape(4, 1, 17)):
        model, optimizer = build()
        collector = Collector(model, [optimizer])
        collector.attach()
        step(model, optimizer, batches, collector)
        records.append(collector.collect(0))
    whole, parts = records
    assert whole.tags == parts.tags
    for tag in whole.tags:
        if REGISTRY[split(tag)[0]].kind == "exact":
            assert parts.readings[tag] == pytest.approx(whole.readings[tag], rel=2e-4, abs=1e-6), tag


@pytest.mark.parametrize("wiring", WIRINGS)
def test_every_reading_is_in_the_registry_and_sites_stand_in_forward_order(
    build: Any, step: Any, tokens: Any, wiring: str
) -> None:
    model, optimizer = build(wiring=wiring)
    order: list[str] = []
    for name, module in model.named_modules():
        if name.endswith(("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post", "norm")):
            module.register_forward_hook(lambda m, a, o, name=name: order.append(name))
    collector = Collector(model, [optimizer])
    collector.attach()
    step(model, optimizer, tokens[:1], collector)
    readings = collector.collect(0).readings
    assert {split(tag)[0] for tag in readings} <= set(REGISTRY)
    sites = [tag.removeprefix("act/rms/") for tag in readings if tag.startswith("act/rms/")]
    fired = list(dict.fromkeys(order))
    modules = list(
        dict.fromkeys(collector.layout.sites[i].module for i in range(len(collector.layout.sites)))
    )
    assert [m for m in modules if m in fired] == fired
    assert len(sites) == len(set(sites))
    assert all(row.fired for row in collector.coverage() if "act/rms" in row.statistics)


def test_validation_and_unarmed_forwards_are_not_seen(build: Any, step: Any, tokens: Any) -> None:
    model, optimizer = build()
    collector = Collector(model, [optimizer])
    collector.attach()
    records = []
    for noise in (False, True):
        if noise:
            collector.arm(False)
            model(tokens[7][:, :-1])
            collector.arm()
            model.eval()
            model(tokens[6][:, :-1])
            model.train()
        collector.arm()
        model(tokens[0][:, :-1])
        records.append(collector.collect(0).readings["act/rms/blocks.02.resid_post"])
    assert records[0] == records[1]


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_forward_is_counted_once(build: Any, tokens: Any, reentrant: bool) -> None:
    counts = []
    for checkpointed in (False, True):
        model, optimizer = build()
        collector = Collector(model, [optimizer])
        collector.attach()
        collector.arm()
        x = model.embed(tokens[0][:, :-1])
        for block in model.blocks:
            x = checkpoint(block, x, use_reentrant=reentrant) if checkpointed else block(x)
        model.head(model.final_norm(x)).square().mean().backward()
        counts.append(list(collector._buffer.counts))
        assert not collector._buffer._has_merged
    assert counts[0] == counts[1]


def test_a_site_that_fails_goes_dark_and_the_rest_goes_on(
    build: Any, step: Any, tokens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("no such logits")

    model, optimizer = build()
    collector = Collector(model, [optimizer])
    collector.attach()
    monkeypatch.setattr("stabilitykit.observe.attention.seen.read_attention", broken)
    step(model, optimizer, tokens[:1], collector)
    readings = collector.collect(0).readings
    assert not any(tag.startswith("attn/") for tag in readings)
    assert "act/rms/blocks.00.resid_mid" in readings
    dark = {row.site: row.dark for row in collector.coverage() if row.dark}
    assert dark == dict.fromkeys(("blocks.00", "blocks.01", "blocks.02"), "ValueError: no such logits")


def test_nan_in_an_activation_is_named_where_it_begins(build: Any, step: Any, tokens: Any) -> None:
    model, optimizer = build()
    collector = Collector(model, [optimizer])
    collector.attach()
    with torch.no_grad():
        model.blocks[1].mlp_norm.weight[3] = math.nan
    step(model, optimizer, tokens[:1], collector)
    readings = collector.collect(0).readings
    bad = [
        tag.removeprefix("act/nonfinite/")
        for tag, v in readings.items()
        if tag.startswith("act/nonfinite/") and v
    ]
    assert bad[0] == "blocks.01.mlp_norm_out"
    assert readings["act/nonfinite/blocks.01.mlp_norm_in"] == 0.0


def test_a_model_without_known_names_is_watched_for_gradients_and_updates(step: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    collector = Collector(model, [optimizer])
    collector.attach()
    collector.arm()
    model(torch.randn(3, 4)).square().mean().backward()
    collector.read_gradients()
    optimizer.step()
    readings = collector.collect(0).readings
    assert {"grad/norm/0", "grad/share/head", "optim/grad_norm"} <= set(readings)
    # The layout is known once the backward pass has ended, so before the optimizer's step.
    assert "optim/update_ratio/0" in readings
    assert "no repeated blocks" in collector.layout.notes[0]


def test_a_model_that_is_not_understood_is_watched_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("odd model")

    monkeypatch.setattr("stabilitykit.observe.collector.layout_of", fail)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    collector = Collector(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    collector.attach()
    collector.arm()
    model(torch.randn(3, 4)).square().mean().backward()
    collector.read_gradients()
    readings = collector.collect(0).readings
    shares = [value for tag, value in readings.items() if tag.startswith("grad/share/")]
    assert sum(share**2 for share in shares) == pytest.approx(1.0)
    assert "RuntimeError: odd model" in collector.layout.notes[0]
