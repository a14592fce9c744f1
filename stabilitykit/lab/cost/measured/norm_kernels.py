"""Norms by other kernels than the model's own: torch's function, and operation by operation."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.lab.model.norms import LayerNorm, Norm, RMSNorm

NormKernels = Literal["model", "library", "composite"]
"""The model's own; ``F.layer_norm`` and ``F.rms_norm``; or every operation by itself."""


class _LibraryLayerNorm(LayerNorm):
    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


class _LibraryRMSNorm(RMSNorm):
    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


class _CompositeLayerNorm(LayerNorm):
    def _scaled(
        self, x: Float[Tensor, "*rows width"], gain: Float[Tensor, "width"] | None
    ) -> Float[Tensor, "*rows width"]:
        centred = x - x.mean(-1, keepdim=True)
        normed = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + self.eps)
        return normed if gain is None else normed * gain


class _CompositeRMSNorm(RMSNorm):
    def _scaled(
        self, x: Float[Tensor, "*rows width"], gain: Float[Tensor, "width"] | None
    ) -> Float[Tensor, "*rows width"]:
        normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        return normed if gain is None else normed * gain


_KINDS: dict[NormKernels, dict[type[Norm], type[Norm]]] = {
    "model": {},
    "library": {LayerNorm: _LibraryLayerNorm, RMSNorm: _LibraryRMSNorm},
    "composite": {LayerNorm: _CompositeLayerNorm, RMSNorm: _CompositeRMSNorm},
}


def use_norm_kernels(model: nn.Module, kernels: NormKernels) -> None:
    """Let a model's LayerNorms and RMSNorms run other kernels, in place; weights stay as they are.

    Args:
        model: The model.
        kernels: Which ones. Those of the library take no gain that is stored as a difference from 1.
    """
    kinds = _KINDS[kernels]
    for module in model.modules():
        if (
            isinstance(module, Norm)
            and type(module) in kinds
            and not (kernels == "library" and module.offset)
        ):
            # All of them hold the same parameters; only what they call differs.
            module.__class__ = kinds[type(module)]
