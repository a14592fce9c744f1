"""Attention statistics from a few rows, against the materialised matrix."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stabilitykit.stats import (
    AttentionCall,
    AttentionReading,
    norm_level,
    read_attention,
    read_logits,
    sample_logits,
)


def materialised(call: AttentionCall) -> Tensor:
    k = call.k.repeat_interleave(call.q.shape[1] // call.k.shape[1], dim=1)
    s = torch.einsum("bhid,bhjd->bhij", call.q.double(), k.double()) * call.scale
    if call.bias is not None:
        s = s + call.bias
    if call.causal:
        s = s.masked_fill(torch.ones_like(s[0, 0]).triu(1).bool(), -math.inf)
    return s


def make(
    size: float,
    causal: bool = True,
    kv_heads: int = 4,
    length: int = 48,
    seed: int = 0,
    with_lse: bool = True,
    batch: int = 3,
) -> AttentionCall:
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, 4, length, 16, generator=g) * size
    k = torch.randn(batch, kv_heads, length, 16, generator=g)
    return leveled(AttentionCall(q, k, 16**-0.5, causal, q[..., 0]), with_lse)


def leveled(call: AttentionCall, with_lse: bool = True) -> AttentionCall:
    """Return the call with the log-sum-exp of its rows, or with the bound by norms."""
    if with_lse:
        return replace(call, level=materialised(call).logsumexp(-1).float())
    return replace(call, level=norm_level(call.q, call.k, call.scale, call.bias))


def read(call: AttentionCall, rows: int = 16) -> AttentionReading:
    return read_attention([call], rows)


def sequence_of(call: AttentionCall) -> int:
    return int(call.level.amax((1, 2)).argmax())


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("size", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("with_lse", [True, False])
def test_the_bounds_hold_the_largest_logit(causal: bool, kv_heads: int, size: float, with_lse: bool) -> None:
    call = make(size, causal, kv_heads, with_lse=with_lse)
    exact = materialised(call).max().item()
    reading = read(call)
    assert reading.logit_max.item() <= exact * (1 + 1e-5) + 1e-5
    assert reading.logit_bound.item() >= exact - 1e-4
    assert reading.logit_bound.item() >= reading.logit_max.item()


def test_a_large_logit_is_found_exactly() -> None:
    for seed in range(8):
        call = make(20.0, seed=seed)
        reading = read(call)
        assert reading.logit_max.item() == pytest.approx(materialised(call).max().item(), rel=1e-5)
        assert reading.logit_bound.item() == pytest.approx(reading.logit_max.item(), rel=1e-3)


def test_searching_every_row_of_the_only_sequence_is_exact() -> None:
    one = make(0.3, batch=1)
    reading = read(one, rows=48)
    exact = materialised(one).max().item()
    assert reading.logit_max.item() == reading.logit_bound.item() == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("size", [0.1, 1.0, 60.0])
@pytest.mark.parametrize("with_lse", [True, False])
def test_entropy_on_all_rows_is_the_materialised_one(
    causal: bool, kv_heads: int, size: float, with_lse: bool
) -> None:
    call = make(size, causal, kv_heads, with_lse=with_lse)
    h = torch.special.entr(materialised(call)[sequence_of(call)].softmax(-1)).sum(-1)
    visible = torch.arange(1, 49).double() if causal else torch.full((48,), 48.0).double()
    expected = (h / visible.log())[:, 7 if causal else 0 :].mean(-1)
    found = read(call, rows=48).entropy[0]
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=0)


def test_sixteen_rows_are_enough_for_a_mean() -> None:
    call = make(1.0, length=512)
    few, many = read(call).entropy, read(call, rows=512).entropy
    torch.testing.assert_close(few, many, atol=0.03, rtol=0)


def test_uniform_attention_has_entropy_one_and_one_hot_has_zero() -> None:
    q, k = torch.zeros(1, 2, 32, 8), torch.randn(1, 2, 32, 8)
    uniform = leveled(AttentionCall(q, k, 1.0, True, q[..., 0]))
    assert read(uniform).entropy[0].tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    q, k = torch.full((1, 1, 32, 8), 1e3), torch.zeros(1, 1, 32, 8)
    k[:, :, 0] = 1.0
    one_hot = leveled(AttentionCall(q, k, 1.0, True, q[..., 0]))
    assert read(one_hot).entropy[0].tolist() == pytest.approx([0.0], abs=1e-6)


@pytest.mark.parametrize("with_lse", [True, False])
def test_nan_is_not_hidden(with_lse: bool) -> None:
    call = make(1.0)
    call.q[1, 2, 5, 0] = math.nan
    reading = read(leveled(call, with_lse))
    assert math.isnan(reading.logit_max.item())
    assert math.isnan(reading.logit_bound.item())


def test_nothing_is_drawn_from_the_random_state() -> None:
    call = make(1.0)
    before = torch.get_rng_state()
    read(call)
    sample_logits(materialised(call))
    assert torch.equal(torch.get_rng_state(), before)


def biased(call: AttentionCall, kind: str) -> AttentionCall:
    """Return the call under a bias: a window of 12 keys, distances as in ALiBi, or both."""
    i, j = torch.arange(48)[:, None], torch.arange(48)
    bias = torch.zeros(4, 48, 48)
    if kind != "distances":
        bias = bias.masked_fill((j > i) | (j <= i - 12), -math.inf)
    if kind != "window":
        bias = bias - 0.1 * torch.arange(1, 5)[:, None, None] * (i - j).abs()
    return replace(call, causal=False, bias=bias.expand(3, 4, 48, 48))


@pytest.mark.parametrize("kind", ["window", "distances", "both"])
@pytest.mark.parametrize("size", [0.3, 20.0])
@pytest.mark.parametrize("with_lse", [True, False])
def test_a_bias_is_part_of_the_logits_and_hides_keys(kind: str, size: float, with_lse: bool) -> None:
    call = leveled(biased(make(size, kv_heads=2), kind), with_lse)
    s = materialised(call)
    reading = read(call, rows=48)
    assert reading.logit_max.item() <= s.max().item() + 1e-4
    assert reading.logit_bound.item() >= s.max().item() - 1e-4
    expected = exact_entropy(s[sequence_of(call)])
    torch.testing.assert_close(reading.entropy[0].double(), expected, atol=1e-3, rtol=0)


def exact_entropy(s: Tensor) -> Tensor:
    """Return each head's mean over the rows that see 8 keys."""
    n = (s > s.amax(-1, keepdim=True) - 5e3).sum(-1)
    h = torch.special.entr(s.softmax(-1)).sum(-1) / n.log()
    return torch.stack([h[a][n[a] >= 8].mean() for a in range(len(s))])


def test_a_window_of_one_key_has_no_entropy_rather_than_nan() -> None:
    bias = torch.full((48, 48), -math.inf).fill_diagonal_(0.0).expand(3, 4, 48, 48)
    alone = leveled(replace(make(1.0), causal=False, bias=bias))
    assert read(alone).entropy[0].tolist() == [0.0] * 4


def test_a_narrow_window_counts_its_widest_rows() -> None:
    i, j = torch.arange(48)[:, None], torch.arange(48)
    bias = torch.zeros(48, 48).masked_fill((j > i) | (j <= i - 4), -math.inf).expand(3, 4, 48, 48)
    call = leveled(replace(make(1.0), causal=False, bias=bias))
    s = materialised(call)[sequence_of(call)][:, 7:]
    expected = (torch.special.entr(s.softmax(-1)).sum(-1) / math.log(4)).mean(-1)
    torch.testing.assert_close(read(call, rows=41).entropy[0].double(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("with_lse", [True, False])
@pytest.mark.parametrize("kind", ["causal", "full", "window"])
def test_calls_read_together_are_read_as_alone(kind: str, with_lse: bool) -> None:
    calls = [make(2.0, kind == "causal", kv_heads=2, seed=seed) for seed in range(3)]
    calls = [leveled(biased(c, kind) if kind == "window" else c, with_lse) for c in calls]
    together = read_attention(calls)
    for i, call in enumerate(calls):
        for a, b in zip(together, read(call), strict=True):
            torch.testing.assert_close(a[i], b[0])


def test_what_was_left_out_is_bounded() -> None:
    call = make(1.0, batch=1)
    call = replace(call, elsewhere=torch.tensor([123.0]))
    assert read(call).logit_bound.item() == 123.0


@pytest.mark.parametrize("hidden", [-math.inf, -3e38, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_in_memory_give_the_exact_maximum_and_the_entropy(hidden: float, dtype: torch.dtype) -> None:
    s = materialised(make(3.0, causal=False)).to(dtype)
    s = s.masked_fill(torch.ones_like(s[0, 0]).triu(1).bool(), hidden)
    reading = read_logits([sample_logits(s, rows=41)])
    assert reading.logit_max.item() == reading.logit_bound.item() == s.max().item()
    sequence = int(s.amax((1, 2, 3)).argmax())
    expected = exact_entropy(s[sequence].double())
    torch.testing.assert_close(reading.entropy[0].double(), expected, atol=1e-3, rtol=0)
