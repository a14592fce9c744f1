"""RMSNorm as a function with its own backward."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_Gradients = tuple[Float[Tensor, "*rows width"], Float[Tensor, "width"] | None]

_layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default


class _RMSNormFunction(torch.autograd.Function):
    """RMSNorm with a backward of its own: torch has none on CPU and differentiates a chain of operations.

    Without a gain, g is 1. With ``r = (mean(x²) + eps)^-½`` per row, ``y = g·r·x`` and width ``d``::

        dx = r·(g·dy) − x·r³/d · Σ_features(g·dy·x)
        dg = Σ_rows(dy·r·x)
    """

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "*rows width"], gain: Float[Tensor, "width"] | None, eps: float
    ) -> Float[Tensor, "*rows width"]:
        x = x.contiguous()
        inverse = _inverse_rms(x, eps)
        ctx.save_for_backward(x, gain, inverse)
        ctx.eps = eps
        normed = x * inverse
        return normed if gain is None else normed.mul_(gain)

    @staticmethod
    def backward(
        ctx: Any, dy: Float[Tensor, "*rows width"]
    ) -> tuple[Float[Tensor, "*rows width"], Float[Tensor, "width"] | None, None]:
        x, gain, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A second derivative is wanted, and the saved root would count as a constant.
            return *_by_formula(dy, x, gain, _inverse_rms(x, ctx.eps)), None
        if (dy.is_cpu or dy.is_meta) and not torch.compiler.is_compiling():
            return *_by_layer_norm(dy.contiguous(), x, gain, inverse), None
        return *_by_formula(dy, x, gain, inverse), None


def rms_norm(
    x: Float[Tensor, "*rows width"], gain: Float[Tensor, "width"] | None, eps: float
) -> Float[Tensor, "*rows width"]:
    """Return ``gain · x / √(mean(x²) + eps)``, the mean taken over the last axis.

    Args:
        x: In float32 or float64.
        gain: One factor a feature; None for none.
        eps: Added to the mean square.
    """
    result: Tensor = _RMSNormFunction.apply(x, gain, eps)  # type: ignore[no-untyped-call]  # torch's gap
    return result


def _inverse_rms(x: Float[Tensor, "*rows width"], eps: float) -> Float[Tensor, "*rows 1"]:
    # The vector norm is one fused pass; squaring and averaging would write x² to memory first.
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.addcmul(norm.new_full((), eps), norm, norm, value=1 / x.shape[-1]).rsqrt_()


def _by_layer_norm(
    dy: Float[Tensor, "*rows width"],
    x: Float[Tensor, "*rows width"],
    gain: Float[Tensor, "width"] | None,
    inverse: Float[Tensor, "*rows 1"],
) -> _Gradients:
    """Return the gradients by the backward kernel of layer norm, which takes mean and root as arguments.

    At mean 0 and root r it returns our dg, and our dx less ``r·mean(g·dy)``, what centring takes away.
    """
    width, zero = x.shape[-1], torch.zeros_like(inverse)
    outputs = [True, gain is not None, False]
    dx, dgain, _ = _layer_norm_backward(dy, x, [width], zero, inverse, gain, None, outputs)
    centre = dy.sum(-1, keepdim=True) if gain is None else torch.mv(dy.view(-1, width), gain).view_as(zero)
    return dx.add_(centre.mul_(inverse), alpha=1 / width), dgain


def _by_formula(
    dy: Float[Tensor, "*rows width"],
    x: Float[Tensor, "*rows width"],
    gain: Float[Tensor, "width"] | None,
    inverse: Float[Tensor, "*rows 1"],
) -> _Gradients:
    """Return the gradients by operations that can be differentiated and compiled."""
    with _full_precision(x.device.type):
        product = dy * x
        if gain is None:
            dgain, pull, scaled = None, product.sum(-1), dy * inverse
        else:
            dgain, pull = product.flatten(0, -2).mT @ inverse.flatten(), product @ gain
            scaled = (dy * gain).mul_(inverse)
        dx = scaled.addcmul_(x, pull.unsqueeze(-1).mul_(inverse**3).div_(x.shape[-1]), value=-1)
    return dx, dgain


def _full_precision(device_type: str) -> AbstractContextManager[object]:
    # Autocast would take matrix-vector products to half precision; switching it off costs more than they do.
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
