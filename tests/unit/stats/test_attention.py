"""Attention statistics from a few rows, against the materialised matrix."""

import math

import pytest
import torch
from torch import Tensor

from stabilitykit.stats import AttentionCall, entropy, largest_logit, norm_bound


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


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("size", [0.1, 1.0, 20.0])
def test_the_bounds_hold_the_largest_logit(causal: bool, kv_heads: int, size: float) -> None:
    call = make(size, causal, kv_heads)
    s = materialised(call)
    found, bound = largest_logit(call, s.logsumexp(-1).float())
    exact = s.max().item()
    assert found.item() <= exact * (1 + 1e-5) + 1e-5
    assert bound.item() >= exact - 1e-4
    assert norm_bound(call).item() >= exact - 1e-4


def test_a_large_logit_is_found_exactly() -> None:
    for seed in range(5):
        call = make(20.0, seed=seed)
        s = materialised(call)
        found, bound = largest_logit(call, s.logsumexp(-1).float())
        assert found.item() == pytest.approx(s.max().item(), rel=1e-5)
        assert bound.item() == pytest.approx(found.item(), rel=1e-3)


def test_searching_every_row_of_one_sequence_is_exact() -> None:
    call = make(0.3)
    one = AttentionCall(call.q[:1], call.k[:1], call.scale, True)
    s = materialised(one)
    found, bound = largest_logit(one, s.logsumexp(-1).float(), rows=48)
    assert found.item() == bound.item() == pytest.approx(s.max().item(), rel=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("size", [0.1, 1.0, 60.0])
@pytest.mark.parametrize("with_lse", [True, False])
def test_entropy_on_all_rows_is_the_materialised_one(
    causal: bool, kv_heads: int, size: float, with_lse: bool
) -> None:
    call = make(size, causal, kv_heads)
    s = materialised(call)[0]
    p = s.softmax(-1)
    h = torch.special.entr(p).sum(-1)
    visible = torch.arange(1, 49).double() if causal else torch.full((48,), 48.0).double()
    first = 7 if causal else 0
    expected = (h / visible.log())[:, first:].mean(-1)
    lse = materialised(call).logsumexp(-1).float() if with_lse else None
    found = entropy(call, lse, rows=48)
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=0)


def test_uniform_attention_has_entropy_one_and_one_hot_has_zero() -> None:
    uniform = AttentionCall(torch.zeros(1, 2, 32, 8), torch.randn(1, 2, 32, 8), 1.0, True)
    assert entropy(uniform, None).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    q = torch.full((1, 1, 32, 8), 1e3)
    k = torch.zeros(1, 1, 32, 8)
    k[:, :, 0] = 1.0
    assert entropy(AttentionCall(q, k, 1.0, True), None).tolist() == pytest.approx([0.0], abs=1e-6)


def test_nan_is_not_hidden() -> None:
    call = make(1.0)
    call.q[1, 2, 5, 0] = math.nan
    lse = materialised(call).logsumexp(-1).float()
    found, bound = largest_logit(call, lse)
    assert math.isnan(found.item())
    assert math.isnan(bound.item())


def test_rows_that_see_fewer_than_eight_keys_give_no_entropy() -> None:
    assert entropy(make(1.0, length=7), None).isnan().all()


def test_nothing_is_drawn_from_the_random_state() -> None:
    call = make(1.0)
    before = torch.get_rng_state()
    largest_logit(call, materialised(call).logsumexp(-1).float())
    entropy(call, None)
    assert torch.equal(torch.get_rng_state(), before)
