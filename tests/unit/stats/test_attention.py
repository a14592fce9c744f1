"""Attention statistics from a few rows, against the materialised matrix."""

import math

import pytest
import torch
from torch import Tensor

from stabilitykit.stats import AttentionCall, read_attention


def materialised(call: AttentionCall) -> Tensor:
    k = call.k.repeat_interleave(call.group, dim=1)
    s = torch.einsum("bhid,bhjd->bhij", call.q.double(), k.double()) * call.scale
    if call.causal:
        s = s.masked_fill(torch.ones_like(s[0, 0]).triu(1).bool(), -math.inf)
    return s


def make(
    size: float, causal: bool = True, kv_heads: int = 4, length: int = 48, seed: int = 0
) -> AttentionCall:
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(3, 4, length, 16, generator=g) * size
    k = torch.randn(3, kv_heads, length, 16, generator=g)
    return AttentionCall(q, k, 16**-0.5, causal)


def lse_of(call: AttentionCall) -> Tensor:
    return materialised(call).logsumexp(-1).float()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("size", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("with_lse", [True, False])
def test_the_bounds_hold_the_largest_logit(causal: bool, kv_heads: int, size: float, with_lse: bool) -> None:
    call = make(size, causal, kv_heads)
    exact = materialised(call).max().item()
    reading = read_attention(call, lse_of(call) if with_lse else None)
    assert reading.logit_max.item() <= exact * (1 + 1e-5) + 1e-5
    assert reading.logit_bound.item() >= exact - 1e-4
    assert reading.logit_bound.item() >= reading.logit_max.item()


def test_a_large_logit_is_found_exactly() -> None:
    for seed in range(8):
        call = make(20.0, seed=seed)
        reading = read_attention(call, lse_of(call))
        assert reading.logit_max.item() == pytest.approx(materialised(call).max().item(), rel=1e-5)
        assert reading.logit_bound.item() == pytest.approx(reading.logit_max.item(), rel=1e-3)


def test_searching_every_row_of_the_only_sequence_is_exact() -> None:
    call = make(0.3)
    one = AttentionCall(call.q[:1], call.k[:1], call.scale, True)
    reading = read_attention(one, lse_of(one), rows=48)
    exact = materialised(one).max().item()
    assert reading.logit_max.item() == reading.logit_bound.item() == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("size", [0.1, 1.0, 60.0])
@pytest.mark.parametrize("with_lse", [True, False])
def test_entropy_on_all_rows_is_the_materialised_one(
    causal: bool, kv_heads: int, size: float, with_lse: bool
) -> None:
    call = make(size, causal, kv_heads)
    lse = lse_of(call)
    sequence = int(lse.amax((1, 2)).argmax()) if with_lse else 0
    h = torch.special.entr(materialised(call)[sequence].softmax(-1)).sum(-1)
    visible = torch.arange(1, 49).double() if causal else torch.full((48,), 48.0).double()
    expected = (h / visible.log())[:, 7 if causal else 0 :].mean(-1)
    found = read_attention(call, lse if with_lse else None, rows=48).entropy
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=0)


def test_sixteen_rows_are_enough_for_a_mean() -> None:
    call = make(1.0, length=512)
    lse = lse_of(call)
    few, many = read_attention(call, lse).entropy, read_attention(call, lse, rows=512).entropy
    torch.testing.assert_close(few, many, atol=0.03, rtol=0)


def test_uniform_attention_has_entropy_one_and_one_hot_has_zero() -> None:
    uniform = AttentionCall(torch.zeros(1, 2, 32, 8), torch.randn(1, 2, 32, 8), 1.0, True)
    assert read_attention(uniform, None).entropy.tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    k = torch.zeros(1, 1, 32, 8)
    k[:, :, 0] = 1.0
    one_hot = AttentionCall(torch.full((1, 1, 32, 8), 1e3), k, 1.0, True)
    assert read_attention(one_hot, None).entropy.tolist() == pytest.approx([0.0], abs=1e-6)


@pytest.mark.parametrize("with_lse", [True, False])
def test_nan_is_not_hidden(with_lse: bool) -> None:
    call = make(1.0)
    call.q[1 if with_lse else 0, 2, 5, 0] = math.nan
    reading = read_attention(call, lse_of(call) if with_lse else None)
    assert math.isnan(reading.logit_max.item())
    assert math.isnan(reading.logit_bound.item())


def test_nothing_is_drawn_from_the_random_state() -> None:
    call = make(1.0)
    before = torch.get_rng_state()
    read_attention(call, lse_of(call))
    read_attention(call, None)
    assert torch.equal(torch.get_rng_state(), before)


def biased(call: AttentionCall, kind: str) -> AttentionCall:
    """Return the call under a bias: a window of 12 keys, distances as in ALiBi, or both."""
    i, j = torch.arange(48)[:, None], torch.arange(48)
    bias = torch.zeros(4, 48, 48)
    if kind != "distances":
        bias = bias.masked_fill((j > i) | (j <= i - 12), -math.inf)
    if kind != "window":
        bias = bias - 0.1 * torch.arange(1, 5)[:, None, None] * (i - j).abs()
    return AttentionCall(call.q, call.k, call.scale, False, bias.expand(3, 4, 48, 48))


@pytest.mark.parametrize("kind", ["window", "distances", "both"])
@pytest.mark.parametrize("size", [0.3, 20.0])
@pytest.mark.parametrize("with_lse", [True, False])
def test_a_bias_is_part_of_the_logits_and_hides_keys(kind: str, size: float, with_lse: bool) -> None:
    call = biased(make(size, kv_heads=2), kind)
    assert call.bias is not None
    s = materialised(call) + call.bias
    lse = s.logsumexp(-1).float()
    reading = read_attention(call, lse if with_lse else None, rows=48)
    assert reading.logit_max.item() <= s.max().item() + 1e-4
    assert reading.logit_bound.item() >= s.max().item() - 1e-4
    sequence = int(lse.amax((1, 2)).argmax()) if with_lse else 0
    h = torch.special.entr(s[sequence].softmax(-1)).sum(-1)
    n = (s[sequence] != -math.inf).sum(-1)
    expected = torch.stack([(h[a][n[a] > 1] / n[a][n[a] > 1].log()).mean() for a in range(4)])
    torch.testing.assert_close(reading.entropy.double(), expected, atol=1e-3, rtol=0)


def test_a_window_of_one_key_has_no_entropy_rather_than_nan() -> None:
    call = make(1.0)
    bias = torch.full((48, 48), -math.inf).fill_diagonal_(0.0).expand(3, 4, 48, 48)
    alone = AttentionCall(call.q, call.k, call.scale, False, bias)
    assert read_attention(alone, None).entropy.tolist() == [0.0] * 4
