"""Norms over groups of parameters, and log Z of the output."""

import math

import pytest
import torch

from stabilitykit.stats import FlatViews, flat, joined, mean_log_z, norm, scaled_gradient_square


def test_a_group_is_joined_whatever_its_shapes_and_layouts() -> None:
    g = torch.Generator().manual_seed(0)
    tensors = [torch.randn(5, 7, generator=g).T, torch.randn(3, generator=g), torch.randn((), generator=g)]
    joint = joined(flat(tensors), torch.empty(50))
    assert joint.numel() == 39
    exact = math.sqrt(sum(t.double().square().sum().item() for t in tensors))
    assert norm(joint).item() == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_accumulated_wide(dtype: torch.dtype) -> None:
    joint = joined([torch.full((90000,), 1000.0, dtype=dtype)], torch.empty(90000))
    assert joint.dtype == torch.float32
    assert norm(joint).item() == pytest.approx(300 * 1000.0, rel=1e-3)


def test_joining_copies() -> None:
    weight = torch.ones(4)
    joined([weight], torch.empty(4)).zero_()
    assert weight.tolist() == [1.0] * 4


def test_flat_views_follow_values_and_notice_a_tensor_that_moved() -> None:
    views, weight = FlatViews(), torch.zeros(2, 2)
    first = views.of([weight])
    weight.fill_(1.0)
    assert views.of([weight]) is first
    assert first[0].tolist() == [1.0] * 4
    other = torch.full((2, 2), 5.0)
    assert views.of([other])[0].tolist() == [5.0] * 4
    assert views.of([other.T])[0].tolist() == [5.0] * 4


def test_scaled_gradients_are_g_over_root_v_and_eps_is_a_floor() -> None:
    g = torch.tensor([3.0, 4.0])
    assert scaled_gradient_square(g.clone(), torch.tensor([4.0, 4.0]), 1e-8).item() == pytest.approx(2.5**2)
    floored = scaled_gradient_square(g.clone(), torch.tensor([0.0, 4.0]), 0.5)
    assert floored.item() == pytest.approx(6.0**2 + 2.0**2)


def test_log_z_is_the_mean_over_the_tokens_looked_at() -> None:
    logits = torch.randn(4, 16, 50, generator=torch.Generator().manual_seed(0))
    assert mean_log_z(logits).item() == pytest.approx(logits.logsumexp(-1).mean().item(), rel=1e-6)
    assert mean_log_z(torch.zeros(512, 10)).item() == pytest.approx(math.log(10))
