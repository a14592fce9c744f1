"""Attention is seen beside the fused kernel, and beside any other."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stabilitykit.observe import Collector


class Attention(nn.Module):
    """Causal attention of one head size, with what callers do to it."""

    def __init__(self, dropout: float = 0.0, mask: Tensor | None = None) -> None:
        super().__init__()
        self.qkv = nn.Linear(32, 96)
        self.dropout = dropout
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4)
        hidden = {"is_causal": True} if self.mask is None else {"attn_mask": self.mask}
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout, **hidden)
        return out.transpose(1, 2).flatten(2)


class Marked(nn.Module):
    """One block with the names that are looked for."""

    def __init__(self, dropout: float = 0.0, mask: Tensor | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Module()])
        self.blocks[0].resid_pre = nn.Identity()
        self.blocks[0].attn = Attention(dropout, mask)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks[0].attn(self.blocks[0].resid_pre(x))
        return out


def watched(model: Marked, x: Tensor) -> tuple[dict[str, float], list[str]]:
    collector = Collector(model, [])
    collector.attach()
    collector.arm()
    model(x)
    readings = dict(collector.collect(0).readings)
    kinds = [row.kind for row in collector.coverage() if "attn/entropy" in row.statistics]
    collector.detach()
    assert kinds == [row.kind for row in collector.coverage() if "attn/entropy" in row.statistics]
    return readings, kinds


def exact(model: Marked, x: Tensor) -> Tensor:
    q, k, _ = model.blocks[0].attn.qkv(x).view(*x.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4)
    s = q @ k.mT / math.sqrt(8)
    return s.masked_fill(torch.ones_like(s[0, 0]).triu(1).bool(), -math.inf).detach()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 40, 32, generator=torch.Generator().manual_seed(0)) * 3


def test_the_fused_path_agrees_with_the_materialised_one(x: Tensor) -> None:
    torch.manual_seed(0)
    model = Marked()
    readings, kinds = watched(model, x)
    s = exact(model, x)
    assert readings["attn/logit_max/blocks.00"] <= s.max().item() + 1e-4
    assert readings["attn/logit_max_bound/blocks.00"] >= s.max().item() - 1e-4
    assert 0 <= readings["attn/entropy_min/blocks.00"] <= readings["attn/entropy/blocks.00"] <= 1
    assert kinds == ["exact or bound"]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_output_gradients_and_random_state_are_untouched(x: Tensor, dropout: float) -> None:
    torch.manual_seed(0)
    model = Marked(dropout)
    outs = []
    for watching in (False, True):
        torch.manual_seed(7)
        model.zero_grad()
        collector = Collector(model, [])
        if watching:
            collector.attach()
            collector.arm()
        out = model(x)
        out.square().mean().backward()
        outs.append((out.detach(), model.blocks[0].attn.qkv.weight.grad.clone(), torch.get_rng_state()))
        collector.detach()
    assert all(torch.equal(a, b) for a, b in zip(*outs, strict=True))


def test_under_dropout_a_sample_is_taken_and_said_to_be_one(x: Tensor) -> None:
    torch.manual_seed(0)
    model = Marked(dropout=0.5)
    readings, kinds = watched(model, x)
    s = exact(model, x)
    assert readings["attn/logit_max/blocks.00"] <= s.max().item() + 1e-4
    assert readings["attn/logit_max_bound/blocks.00"] >= s.max().item() - 1e-4
    assert kinds == ["sampled"]


def test_autocast_keeps_its_own_kernel_and_type(x: Tensor) -> None:
    torch.manual_seed(0)
    model = Marked()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bare = model(x)
        collector = Collector(model, [])
        collector.attach()
        collector.arm()
        seen = model(x)
    assert seen.dtype == bare.dtype == torch.bfloat16
    assert torch.equal(seen, bare)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_short_sequences_give_no_attention_readings_rather_than_nan(x: Tensor, dtype: Any) -> None:
    model = Marked().to(dtype)
    readings, _ = watched(model, x[:, :7].to(dtype))
    assert not any(tag.startswith("attn/") for tag in readings)
    assert all(math.isfinite(value) for value in readings.values())


@pytest.mark.parametrize("kind", ["truth values", "numbers", "a number a head"])
def test_masks_are_seen_and_change_no_bit(x: Tensor, kind: str) -> None:
    window = (torch.ones(40, 40).tril() * torch.ones(40, 40).triu(-15)).bool()
    bias = torch.zeros(40, 40).masked_fill(~window, -math.inf)
    heads = bias - torch.arange(4.0)[:, None, None] * torch.arange(40.0).flip(0)
    mask = {"truth values": window, "numbers": bias, "a number a head": heads}[kind]
    torch.manual_seed(0)
    model = Marked(mask=mask)
    bare = model(x)
    bare.square().mean().backward()
    gradient = model.blocks[0].attn.qkv.weight.grad.clone()
    model.zero_grad()
    collector = Collector(model, [])
    collector.attach()
    collector.arm()
    seen = model(x)
    seen.square().mean().backward()
    assert torch.equal(seen, bare)
    assert torch.equal(model.blocks[0].attn.qkv.weight.grad, gradient)
    readings = collector.collect(0).readings
    q, k, _ = model.blocks[0].attn.qkv(x).view(*x.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4)
    s = (q @ k.mT / math.sqrt(8) + (heads if kind == "a number a head" else bias)).max().item()
    assert readings["attn/logit_max/blocks.00"] <= s + 1e-4
    assert readings["attn/logit_max_bound/blocks.00"] >= s - 1e-4
    assert 0 < readings["attn/entropy_min/blocks.00"] <= readings["attn/entropy/blocks.00"] <= 1


OWN = {
    "written out": {"implementation": "eager"},
    "capped": {"softcap": 2.0},
    "with sinks": {"sinks": "learned"},
    "with fixed sinks": {"sinks": "zero"},
    "fused": {},
    "fused, with dropout": {"dropout": 0.1},
}


@pytest.mark.parametrize("kind", OWN)
def test_every_attention_of_our_own_model_is_seen(build: Any, tokens: Tensor, kind: str) -> None:
    model, _ = build(attention=OWN[kind])
    torch.manual_seed(0)
    bare = model(tokens[0][:, :-1])
    collector = Collector(model, [])
    collector.attach()
    collector.arm()
    torch.manual_seed(0)
    assert torch.equal(model(tokens[0][:, :-1]), bare)
    readings = collector.collect(0).readings
    for block in ("00", "01", "02"):
        assert 0 < readings[f"attn/entropy/blocks.{block}"] <= 1
        largest, bound = (
            readings[f"attn/{name}/blocks.{block}"] for name in ("logit_max", "logit_max_bound")
        )
        assert largest <= bound
        if kind in ("written out", "capped", "with sinks"):
            assert largest == bound


def test_dropped_microbatches_leave_nothing_behind(x: Tensor) -> None:
    model = Marked()
    collector = Collector(model, [])
    collector.attach()
    collector.arm()
    model(x * 100)
    collector.reset()
    torch.manual_seed(0)
    readings, again = [], dict(watched(model, x)[0])
    for _ in range(2):
        model(x)
        readings.append(collector.collect(0).readings)
    assert dict(readings[0]) == dict(readings[1]) == again


def test_microbatches_are_merged_as_one_by_one(x: Tensor) -> None:
    model = Marked()
    singles = [watched(model, x * size)[0] for size in (1.0, 3.0, 2.0)]
    collector = Collector(model, [])
    collector.attach()
    collector.arm()
    for size in (1.0, 3.0, 2.0):
        model(x * size)
    merged = collector.collect(0).readings
    for tag, join in (("logit_max", max), ("logit_max_bound", max), ("entropy_min", min)):
        name = f"attn/{tag}/blocks.00"
        assert merged[name] == pytest.approx(join(each[name] for each in singles), rel=1e-6)
    mean = sum(each["attn/entropy/blocks.00"] for each in singles) / 3
    assert merged["attn/entropy/blocks.00"] == pytest.approx(mean, rel=1e-6)
