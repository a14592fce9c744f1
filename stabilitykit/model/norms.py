"""RMSNorm and LayerNorm, with a gain and without a bias."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.model.config import NormConfig


class RMSNorm(nn.Module):
    """Returns ``gain · x / √(mean(x²) + eps)`` over the last axis (Zhang & Sennrich 1910.07467).

    Half precision is computed in float32 and returned in the input's type.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Return ``x`` at unit mean square along its last axis, times the gain."""
        wide = _at_least_float32(x)
        return _rms_norm(wide, self.weight.to(wide.dtype), self.eps).to(x.dtype)


class LayerNorm(nn.Module):
    """Returns ``gain · (x − mean(x)) / √(var(x) + eps)`` over the last axis (Ba et al. 1607.06450).

    Half precision is computed in float32 and returned in the input's type.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Return ``x`` at zero mean and unit variance along its last axis, times the gain."""
        wide = _at_least_float32(x)
        weight = self.weight.to(wide.dtype)
        return F.layer_norm(wide, weight.shape, weight, None, self.eps).to(x.dtype)


def build_norm(config: NormConfig, width: int) -> RMSNorm | LayerNorm:
    """Return a new norm of the configured kind over ``width`` features."""
    return RMSNorm(width, config.eps) if config.kind == "rmsnorm" else LayerNorm(width, config.eps)


class _RMSNormFunction(torch.autograd.Function):
    """RMSNorm with a closed-form backward: torch has none on CPU and differentiates a chain of operations.

    With ``r = (mean(x²) + eps)^-½`` per row, ``y = g·r·x`` and width ``d``::

        dx = r·(g·dy) − x·r³/d · Σ_features(g·dy·x)
        dg = Σ_rows(dy·r·x)
    """

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "*rows width"], gain: Float[Tensor, "width"], eps: float
    ) -> Float[Tensor, "*rows width"]:
        inverse = _inverse_rms(x, eps)
        ctx.save_for_backward(x, gain, inverse)
        ctx.eps = eps
        return (x * inverse).mul_(gain)

    @staticmethod
    def backward(
        ctx: Any, dy: Float[Tensor, "*rows width"]
    ) -> tuple[Float[Tensor, "*rows width"], Float[Tensor, "width"], None]:
        x, gain, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A second derivative is wanted, and the saved root would count as a constant.
            inverse = _inverse_rms(x, ctx.eps)
        with _full_precision(x.device.type):
            product = dy * x
            dgain = product.flatten(0, -2).mT @ inverse.flatten()
            pull = (product @ gain).unsqueeze(-1).mul_(inverse**3).div_(x.shape[-1])
            dx = (dy * gain).mul_(inverse).addcmul_(x, pull, value=-1)
        return dx, dgain, None


def _rms_norm(
    x: Float[Tensor, "*rows width"], gain: Float[Tensor, "width"], eps: float
) -> Float[Tensor, "*rows width"]:
    result: Tensor = _RMSNormFunction.apply(x, gain, eps)  # type: ignore[no-untyped-call]  # torch's gap
    return result


def _inverse_rms(x: Float[Tensor, "*rows width"], eps: float) -> Float[Tensor, "*rows 1"]:
    # The vector norm is one fused pass; squaring and averaging would write x² to memory first.
    square_sum: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square()
    return square_sum.div_(x.shape[-1]).add_(eps).rsqrt_()


def _full_precision(device_type: str) -> AbstractContextManager[object]:
    # Autocast would take matrix-vector products to half precision; switching it off costs more than they do.
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _at_least_float32(x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
