"""A fixed sample: which elements, their sums, and the error that is stated for them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stabilitykit.stats import KeptViews, Sampler, plan_sample
from stabilitykit.stats.sample import ROW, WHOLE_MODEL

BIG = ((512, 600), (600,), (512, 512), (0, 4), ())
"""More elements together than are looked at in full."""


def sample(tensors: list[Tensor]) -> tuple[Sampler, Tensor]:
    sampler = Sampler(plan_sample([t.shape for t in tensors]), tensors[0])
    out = sampler.room()
    torch.cat(sampler.views(tensors), out=out.view(-1))
    return sampler, out


def squares(tensors: list[Tensor]) -> np.ndarray:
    sampler, out = sample(tensors)
    return sampler.plan.sums(torch.linalg.vector_norm(out, dim=-1).double().numpy() ** 2)


def test_a_small_model_is_looked_at_in_full() -> None:
    g = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=g) for shape in [(300, 17), (5,), (0, 3), (), (2, 3, 4)]]
    plan, _ = sample(tensors)[0].plan, None
    assert plan.whole.all()
    assert squares(tensors) == pytest.approx([t.double().square().sum().item() for t in tensors], rel=1e-5)


def test_a_large_one_is_sampled_and_its_vectors_are_not() -> None:
    plan = plan_sample(BIG)
    assert sum(plan.sizes) > WHOLE_MODEL
    assert plan.whole.tolist() == [False, True, False, True, True]
    assert all(count >= 1024 for count in (plan.counts[0], plan.counts[2]))
    assert sum(plan.counts) < sum(plan.sizes) / 25
    assert plan_sample(BIG) == plan


@pytest.mark.parametrize("shape", [(512, 600), (128, 4096), (4096, 3, 3, 16), (50257, 64), (1, 2**20)])
def test_no_column_is_preferred(shape: tuple[int, ...]) -> None:
    plan = plan_sample([shape])
    row = math.prod(shape[1:])
    columns = np.bincount(np.arange(0, math.prod(shape), plan.strides[0]) % row, minlength=row)
    assert columns.max() - columns.min() <= 1


def test_elements_are_those_of_the_indices_whatever_the_layout() -> None:
    x = torch.randn(1024, 512, generator=torch.Generator().manual_seed(0))
    turned = x.T.contiguous().T
    assert not turned.is_contiguous()
    assert torch.equal(sample([x])[1], sample([turned])[1])


def test_half_precision_is_copied_wide() -> None:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    sampler, out = sample([x, x.float()])
    assert out.dtype == sampler.dtype == torch.float32
    assert torch.equal(out[:4], out[4:])


def test_what_is_missing_is_zero_and_rows_are_padded_with_zeros() -> None:
    x = torch.ones(200)
    sampler = Sampler(plan_sample([x.shape, x.shape]), x)
    out = sampler.room()
    torch.cat(sampler.views([None, x]), out=out.view(-1))
    assert out.shape == (4, ROW)
    assert sampler.plan.sums(out.double().sum(-1).numpy()).tolist() == [0.0, 200.0]


def test_nan_stays_with_its_tensor() -> None:
    x, y = torch.ones(600), torch.ones(700)
    x[5] = math.nan
    found = squares([x, y])
    assert math.isnan(found[0])
    assert found[1] == pytest.approx(700)


def test_the_norm_of_gaussian_weights_has_the_error_that_is_stated() -> None:
    g = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(40):
        x = torch.randn(700, 512, generator=g)
        n = plan_sample([x.shape]).counts[0]
        errors.append(math.sqrt(squares([x])[0]) / x.norm().item() - 1)
    stated = 0.5 * math.sqrt(2 / n)
    assert np.std(errors) == pytest.approx(stated, rel=0.35)
    assert abs(np.mean(errors)) < 3 * stated / math.sqrt(len(errors))


def test_an_update_of_few_rows_has_the_error_that_is_stated() -> None:
    g = torch.Generator().manual_seed(0)
    share, errors = 0.05, []
    for _ in range(40):
        x = torch.zeros(8192, 64)
        touched = torch.randperm(8192, generator=g)[: int(8192 * share)]
        x[touched] = torch.randn(len(touched), 64, generator=g)
        n = plan_sample([x.shape]).counts[0]
        errors.append(math.sqrt(squares([x])[0]) / x.norm().item() - 1)
    stated = 0.5 * math.sqrt((3 / share - 1) / n)
    assert np.std(errors) == pytest.approx(stated, rel=0.35)


def test_kept_views_follow_values_and_notice_moves() -> None:
    weight = torch.zeros(4, 4)
    views = KeptViews(Sampler(plan_sample([weight.shape]), weight))
    first = views.of([weight])
    weight.fill_(1.0)
    assert views.of([weight])[0] is first[0]
    assert first[0].tolist() == [1.0] * 16
    other = torch.full((4, 4), 5.0)
    assert views.of([other])[0].tolist() == [5.0] * 16


def test_the_copy_of_a_tensor_without_a_view_is_made_anew() -> None:
    turned = torch.zeros(4, 6).T
    views = KeptViews(Sampler(plan_sample([turned.shape]), turned))
    views.of([turned])
    turned.fill_(3.0)
    assert views.of([turned])[0].tolist() == [3.0] * 24
