"""Norms of many tensors at once, scaled gradients, and log Z of the output."""

import math
import warnings

import numpy as np
import pytest
import torch

from stabilitykit.stats import local, mean_log_z, norms, scale_by_second_moment


def test_norms_are_numpys_whatever_shapes_and_layouts() -> None:
    g = torch.Generator().manual_seed(0)
    tensors = [torch.randn(5, 7, generator=g).T, torch.randn(3, generator=g), torch.randn(0), torch.ones(())]
    found = norms(tensors)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([np.linalg.norm(t.double().numpy()) for t in tensors], rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_accumulated_wide_and_does_not_overflow(dtype: torch.dtype) -> None:
    found = norms([torch.full((90000,), 1000.0, dtype=dtype), torch.ones(4)])
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([300 * 1000.0, 2.0], rel=1e-4)


def test_double_precision_stays_double() -> None:
    tensors = [torch.full((4,), 1e100, dtype=torch.float64), torch.ones(4)]
    assert norms(tensors).tolist() == pytest.approx([2e100, 2.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_shows_in_its_own_norm_only(bad: float) -> None:
    found = norms([torch.tensor([1.0, bad]), torch.ones(4)])
    assert not math.isfinite(found[0])
    assert found[1] == 2.0


def test_a_sparse_gradient_has_the_norm_of_its_dense_form() -> None:
    table = torch.nn.Embedding(50, 8, sparse=True)
    table(torch.tensor([3, 3, 7])).square().sum().backward()
    gradient = table.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    assert norms([gradient]).item() == pytest.approx(gradient.to_dense().norm().item(), rel=1e-6)


def test_of_a_sharded_tensor_the_shard_is_read() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
        try:
            mesh = init_device_mesh("cpu", (1,))
            x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
            for placement in (Shard(0), Replicate()):
                sharded = distribute_tensor(x, mesh, [placement])
                assert type(local(sharded)) is torch.Tensor
                assert type(norms([sharded])) is torch.Tensor
                assert norms([sharded]).item() == pytest.approx(x.norm().item(), rel=1e-6)
        finally:
            torch.distributed.destroy_process_group()


def test_scaled_gradients_are_g_over_root_v_above_a_floor() -> None:
    g, v = torch.tensor([[3.0, 4.0], [3.0, 4.0]]), torch.tensor([[4.0, 4.0], [0.0, 4.0]])
    found = scale_by_second_moment(g, v.clone(), torch.tensor([1e-16, 0.25]))
    assert found.tolist() == pytest.approx(np.array([[1.5, 2.0], [6.0, 2.0]]))


def test_log_z_is_the_mean_over_the_tokens_looked_at() -> None:
    logits = torch.randn(4, 16, 50, generator=torch.Generator().manual_seed(0))
    assert mean_log_z(logits).item() == pytest.approx(logits.logsumexp(-1).mean().item(), rel=1e-6)
    assert mean_log_z(torch.zeros(512, 10)).item() == pytest.approx(math.log(10))
