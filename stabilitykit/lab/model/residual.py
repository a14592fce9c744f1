"""What may act on a branch or on the stream beside norms: a learned factor, and GPAS."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.lab.model.config import TransformerConfig


class Gate(nn.Module):
    """Multiplies a branch by a learned scalar (ReZero 2003.04887) or vector (LayerScale 2103.17239)."""

    def __init__(self, start: float, width: int | None) -> None:
        super().__init__()
        self.start = start
        self.weight = nn.Parameter(torch.full(() if width is None else (width,), start))

    @torch.no_grad()
    def reset(self) -> None:
        """Set the factor to where it starts, in place."""
        self.weight.fill_(self.start)

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        """Return the branch times the factor."""
        return x * self.weight.to(x.dtype)


class Gpas(nn.Module):
    """Scales the stream by ``1 − silu(g)``, but not its gradients (Chen et al. 2506.22049)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def reset(self) -> None:
        """Set g to 0, in place."""
        self.weight.zero_()

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        """Return the stream, scaled."""
        return x - F.silu(self.weight).to(x.dtype) * x.detach()


def build_gate(config: TransformerConfig, sublayer: str, skip: str) -> Gate | None:
    """Return the factor on the branches of a sublayer, if it has one.

    Args:
        config: The model's configuration.
        sublayer: ``attn`` or ``mlp``.
        skip: What carries the stream past the sublayer; ``lerp`` always has a factor.
    """
    section = config.residual_of(sublayer)
    if section.gate == "none" and skip != "lerp":
        return None
    start = section.gate_init
    if start is None:
        start = 1 / config.n_layers if skip == "lerp" else 0.0
    return Gate(start, None if section.gate == "scalar" else config.d_model)
