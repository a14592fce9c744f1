"""RMSNorm's closed form against torch's chain of operations, and both norms' contracts."""

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from stabilitykit.lab.model.norms import NORMS, LayerNorm, PerHeadNorm, RMSNorm, build_norm
from stabilitykit.lab.model.sections import NormConfig

# (scale of the input, eps): eps negligible, of the size of the mean square, and dominant.
REGIMES = [(1.0, 1e-5), (1e-2, 1e-4), (1e-3, 1e-2)]


def rms_norm(x: Float[Tensor, "..."], gain: Float[Tensor, "width"], eps: float) -> Float[Tensor, "..."]:
    return F.rms_norm(x, gain.shape, gain, eps)


def make(
    width: int, eps: float, dtype: torch.dtype, scale: float
) -> tuple[RMSNorm, Float[Tensor, "2 5 width"]]:
    generator = torch.Generator().manual_seed(0)
    norm = RMSNorm(width, NormConfig(eps=eps)).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(width, generator=generator))
    x = torch.randn(2, 5, width, generator=generator, dtype=dtype) * scale
    return norm, x.requires_grad_()


@pytest.mark.parametrize(("scale", "eps"), REGIMES)
def test_first_and_second_derivative_are_exact(scale: float, eps: float) -> None:
    norm, x = make(4, eps, torch.float64, scale)
    # Derivatives are of the size of 1/rms and its square.
    arguments = {"eps": scale * 1e-5, "atol": 1e-5 / (scale**2 + eps), "rtol": 1e-4}
    with torch.enable_grad():
        assert torch.autograd.gradcheck(lambda x, g: _with_gain(norm, x, g), (x, norm.weight), **arguments)
        assert torch.autograd.gradgradcheck(
            lambda x, g: _with_gain(norm, x, g), (x, norm.weight), **arguments
        )


def _with_gain(norm: RMSNorm, x: Float[Tensor, "..."], gain: Float[Tensor, "width"]) -> Float[Tensor, "..."]:
    return torch.func.functional_call(norm, {"weight": gain}, (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("scale", "eps"), REGIMES)
def test_rms_norm_equals_torchs(scale: float, eps: float, dtype: torch.dtype) -> None:
    norm, x = make(48, eps, dtype, scale)
    dy = torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(1), dtype=dtype)
    ours, theirs = norm(x), rms_norm(x, norm.weight, eps)
    torch.testing.assert_close(ours, theirs)
    for mine, yours in zip(
        torch.autograd.grad(ours, (x, norm.weight), dy),
        torch.autograd.grad(theirs, (x, norm.weight), dy),
        strict=True,
    ):
        torch.testing.assert_close(mine, yours, rtol=1e-5, atol=1e-5 * yours.abs().max().item())


def test_eps_counts_where_the_input_is_small() -> None:
    norm = RMSNorm(3, NormConfig(eps=1e-4))
    # mean square 1e-4, as large as eps: the root is √2 of the input's own.
    torch.testing.assert_close(norm(torch.full((1, 3), 1e-2)), torch.full((1, 3), 2**-0.5))


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(kind: str, dtype: torch.dtype) -> None:
    norm = build_norm(NormConfig(kind=kind), 16)
    x = (torch.randn(3, 16, generator=torch.Generator().manual_seed(0)) * 100).to(dtype)
    assert norm(x).dtype == dtype
    assert torch.equal(norm(x), norm(x.float()).to(dtype))
    assert torch.equal(norm.to(dtype)(x), norm(x.float()).to(dtype))


def test_backward_under_autocast_keeps_full_precision() -> None:
    norm, x = make(16, 1e-5, torch.float32, 1.0)
    (plain,) = torch.autograd.grad(norm(x).square().sum(), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (under_autocast,) = torch.autograd.grad(norm(x).square().sum(), x)
    assert torch.equal(plain, under_autocast)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_nonfinite_row_stays_in_its_row(value: float) -> None:
    norm, x = make(8, 1e-5, torch.float32, 1.0)
    with torch.no_grad():
        x[0, 0, 3] = value
    y = norm(x)
    assert not y[0, 0].isfinite().all()
    assert y[0, 1:].isfinite().all()
    assert y[1].isfinite().all()


def test_layer_norm_is_centred_and_has_a_gain_but_no_bias() -> None:
    norm = LayerNorm(32)
    y = norm(torch.randn(4, 32, generator=torch.Generator().manual_seed(0)) + 7)
    torch.testing.assert_close(y.mean(-1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.square().mean(-1), torch.ones(4), atol=1e-3, rtol=0)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]


def formula(kind: str, x: Float[Tensor, "rows width"], eps: float) -> Float[Tensor, "rows width"]:
    match kind:
        case "rmsnorm":
            return x / ((x**2).sum(-1, keepdim=True) / x.shape[-1] + eps) ** 0.5
        case "layernorm":
            centred = x - x.sum(-1, keepdim=True) / x.shape[-1]
            return centred / ((centred**2).sum(-1, keepdim=True) / x.shape[-1] + eps) ** 0.5
        case "l2":
            return x / (x**2).sum(-1, keepdim=True) ** 0.5
        case "dyt":
            return (torch.exp(1.6 * x) - 1) / (torch.exp(1.6 * x) + 1)
        case _:
            return torch.special.ndtr((0.8 * x) * 2**0.5) * 2 - 1


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize(
    ("gain", "bias", "offset"), [(True, True, 0.0), (True, False, 1.0), (False, True, 0.0)]
)
def test_every_kind_equals_its_formula(kind: str, gain: bool, bias: bool, offset: float) -> None:
    fields = {"alpha0": 0.8} if kind in ("dyt", "derf") else {}
    config = NormConfig(kind=kind, eps=1e-3, gain=gain, bias=bias, gain_offset=offset, **fields)
    norm = build_norm(config, 6).double()
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    fresh = formula(kind, x, 1e-3)
    torch.testing.assert_close(norm(x), fresh, rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        for weight in (norm.weight, norm.bias):
            if weight is not None:
                weight.copy_(torch.randn(6, generator=generator))
    expected = fresh * (norm.weight + offset) if gain else fresh
    expected = expected + norm.bias if bias else expected
    torch.testing.assert_close(norm(x), expected, rtol=1e-6, atol=1e-7)
    norm.reset()
    torch.testing.assert_close(norm(x), fresh, rtol=1e-6, atol=1e-7)


def test_only_what_is_configured_is_learned() -> None:
    names = {
        kind: [name for name, _ in build_norm(NormConfig(kind=kind, gain=False), 4).named_parameters()]
        for kind in NORMS
    }
    assert names == {"rmsnorm": [], "layernorm": [], "l2": [], "dyt": ["alpha"], "derf": ["alpha", "shift"]}


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_derivatives_without_a_gain_are_exact(eps: float) -> None:
    norm = RMSNorm(4, NormConfig(eps=eps, gain=False))
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradgradcheck(norm, (x,))


def test_a_zero_vector_has_a_finite_norm_and_gradient() -> None:
    for kind in NORMS:
        x = torch.zeros(2, 4, requires_grad=True)
        build_norm(NormConfig(kind=kind), 4)(x).sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all(), kind


def test_a_gain_for_every_head() -> None:
    norm = PerHeadNorm(3, 4, NormConfig(kind="layernorm", gain_offset=1.0))
    x = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(x), F.layer_norm(x, (4,)))
    with torch.no_grad():
        norm.weight.copy_(torch.arange(12.0).view(3, 4))
    for head in range(3):
        expected = F.layer_norm(x[:, :, head], (4,)) * (norm.weight[head] + 1)
        torch.testing.assert_close(norm(x)[:, :, head], expected)


@pytest.mark.parametrize("gain", [True, False])
def test_rows_in_any_order_of_memory_have_the_same_gradient(gain: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    norm = RMSNorm(8, NormConfig(gain=gain))
    x = torch.randn(3, 5, 8, generator=generator).transpose(0, 1).requires_grad_()
    dy = torch.randn(5, 1, 8, generator=generator).expand(5, 3, 8)
    ours, theirs = norm(x), F.rms_norm(x, (8,), norm.weight, norm.eps)
    torch.testing.assert_close(ours, theirs)
    mine, yours = (torch.autograd.grad(y, (x, *norm.parameters()), dy) for y in (ours, theirs))
    torch.testing.assert_close(mine, yours, rtol=1e-5, atol=1e-5)
