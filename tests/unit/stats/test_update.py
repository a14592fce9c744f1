"""Norms over lists of parameters."""

import math

import pytest
import torch

from stabilitykit.stats import mean_log_z, norms, scaled_gradient_norms, update_norms


def tensors(seed: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(5, 7, generator=g), torch.randn(3, generator=g)]


def test_norms_are_each_tensors_own() -> None:
    found = norms(tensors(0))
    assert found.tolist() == pytest.approx([t.norm().item() for t in tensors(0)], rel=1e-6)


def test_half_precision_norms_are_accumulated_wide() -> None:
    found = norms([torch.full((300, 300), 1000.0, dtype=torch.float16)])
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(300 * 1000.0, rel=1e-3)


def test_an_update_is_the_difference_of_two_snapshots() -> None:
    before, after = tensors(0), tensors(1)
    expected = [(a - b).norm().item() for a, b in zip(after, before, strict=True)]
    assert update_norms(before, after).tolist() == pytest.approx(expected, rel=1e-6)


def test_scaled_gradients_are_g_over_root_v_and_eps_is_a_floor() -> None:
    g = [torch.tensor([3.0, 4.0])]
    assert scaled_gradient_norms(g, [torch.tensor([4.0, 4.0])], 1e-8).item() == pytest.approx(2.5)
    assert scaled_gradient_norms(g, [torch.tensor([0.0, 4.0])], 0.5).item() == pytest.approx(
        math.hypot(6.0, 2.0)
    )


def test_log_z_is_the_mean_over_the_tokens_looked_at() -> None:
    logits = torch.randn(4, 16, 50, generator=torch.Generator().manual_seed(0))
    assert mean_log_z(logits).item() == pytest.approx(logits.logsumexp(-1).mean().item(), rel=1e-6)
    assert mean_log_z(torch.zeros(512, 10)).item() == pytest.approx(math.log(10))
