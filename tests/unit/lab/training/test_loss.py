"""Cross-entropy with z-loss against the same written out, and under shifts of the logits."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stabilitykit.lab.training import cross_entropy_with_z_loss

COEFFICIENTS = (0.0, 1e-4, 0.3)


def draw(tokens: int = 5, vocab: int = 7, seed: int = 0, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(tokens, vocab, generator=generator, dtype=torch.float64)
    return logits, torch.randint(vocab, (tokens,), generator=generator)


def written_out(logits: Tensor, targets: Tensor, coefficient: float) -> Tensor:
    return F.cross_entropy(logits, targets) + coefficient * logits.logsumexp(-1).square().mean()


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_the_gradient_is_the_numerical_one(coefficient: float) -> None:
    logits, targets = draw()
    logits.requires_grad_()
    torch.autograd.gradcheck(lambda x: cross_entropy_with_z_loss(x, targets, coefficient).total, logits)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
@pytest.mark.parametrize("scale", [0.01, 3.0, 300.0])
def test_values_and_gradient_equal_the_composite(coefficient: float, scale: float) -> None:
    logits, targets = draw(40, 90, scale=scale)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    parts = cross_entropy_with_z_loss(ours, targets, coefficient)
    expected = written_out(theirs, targets, coefficient)
    # Not of weight 1, as under accumulation.
    (parts.total / 3).backward()
    (expected / 3).backward()
    log_z = logits.logsumexp(-1)
    torch.testing.assert_close(parts.total, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(parts.cross_entropy, F.cross_entropy(logits, targets))
    torch.testing.assert_close(parts.log_z, log_z.mean())
    torch.testing.assert_close(parts.z_loss, coefficient * log_z.square().mean())


def test_a_gradient_flows_from_the_total_alone_and_twice_if_kept() -> None:
    logits, targets = draw()
    logits.requires_grad_()
    parts = cross_entropy_with_z_loss(logits, targets, 0.1)
    assert [part.requires_grad for part in parts] == [True, False, False, False]
    (first,) = torch.autograd.grad(parts.total, logits, retain_graph=True)
    (second,) = torch.autograd.grad(parts.total, logits)
    assert torch.equal(first, second)


@settings(max_examples=30)
@given(shift=st.floats(-50, 50), seed=st.integers(0, 1000), coefficient=st.floats(0, 1))
def test_a_common_shift_moves_log_z_and_nothing_else(shift: float, seed: int, coefficient: float) -> None:
    logits, targets = draw(seed=seed)
    before = cross_entropy_with_z_loss(logits, targets, coefficient)
    after = cross_entropy_with_z_loss(logits + shift, targets, coefficient)
    assert after.cross_entropy.item() == pytest.approx(before.cross_entropy.item(), abs=1e-12)
    assert after.log_z.item() == pytest.approx(before.log_z.item() + shift, abs=1e-12)
    # (z + s)² = z² + 2sz + s², in the mean.
    expected = before.z_loss.item() + coefficient * (2 * shift * before.log_z.item() + shift**2)
    assert after.z_loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_gradient_along_a_shift_is_the_z_losses() -> None:
    logits, targets = draw()
    logits.requires_grad_()
    parts = cross_entropy_with_z_loss(logits, targets, 0.1)
    (gradient,) = torch.autograd.grad(parts.total, logits)
    assert gradient.sum().item() == pytest.approx(2 * 0.1 * parts.log_z.item(), abs=1e-12)


def test_large_logits_neither_overflow_nor_cancel() -> None:
    logits = torch.tensor([[1e4, 1e4 - 8.0, -1e4]], requires_grad=True)
    parts = cross_entropy_with_z_loss(logits, torch.tensor([0]), 1e-4)
    assert parts.cross_entropy.item() == pytest.approx(math.log1p(math.exp(-8)), rel=1e-3)
    assert parts.z_loss.item() == pytest.approx(1e4, rel=1e-5)
    parts.total.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_half_is_computed_in_full() -> None:
    logits, targets = draw(scale=100.0)
    half = logits.to(torch.bfloat16).requires_grad_()
    parts = cross_entropy_with_z_loss(half, targets, 1e-4)
    assert parts.total.dtype == torch.float32
    assert parts.log_z.item() == pytest.approx(half.double().logsumexp(-1).mean().item(), rel=1e-6)
    parts.total.backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_seen_in_the_loss(bad: float) -> None:
    logits, targets = draw()
    logits[2, 3] = bad
    parts = cross_entropy_with_z_loss(logits, targets, 1e-4)
    assert parts.total.isnan()
    assert not parts.z_loss.isfinite()


def test_a_target_that_is_impossible_costs_infinity_and_leaves_log_z() -> None:
    logits, targets = draw()
    logits[0, targets[0]] = -math.inf
    parts = cross_entropy_with_z_loss(logits, targets, 1e-4)
    assert parts.cross_entropy.item() == math.inf
    assert parts.z_loss.isfinite()
