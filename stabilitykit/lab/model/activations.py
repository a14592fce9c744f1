"""The non-linearities of the feed-forward sublayer."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.lab.model.sections import Activation, FeedForwardConfig


def relu2(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the square of what is positive (So et al. 2109.08668)."""
    return F.relu(x).square()


def gelu_tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return GELU in its tanh form, which differs from the exact one by up to 5e-4."""
    return F.gelu(x, approximate="tanh")


def scaled_silu(x: Float[Tensor, "*shape"], alpha: float) -> Float[Tensor, "*shape"]:
    """Return ``x·σ(αx)`` (Ramachandran et al. 1710.05941)."""
    return x * torch.sigmoid(alpha * x)


def identity(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``x``: with a gate, the bilinear layer."""
    return x


class XIELU(nn.Module):
    """Grows with the square above zero and falls to a slope below, both learned (Huang & Schlag 2411.13010).

    ``α_p·x² + βx`` where x > 0, else ``α_n·(eˣ − 1 − x) + βx``, with ``α_p = softplus(a_p)``,
    ``α_n = β + softplus(a_n)`` and β = ½; both α start at 0.8.
    """

    BETA, START, TOP = 0.5, 0.8, -1e-6

    def __init__(self) -> None:
        super().__init__()
        self.alpha_p = nn.Parameter(torch.empty(1))
        self.alpha_n = nn.Parameter(torch.empty(1))
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Set both α to 0.8, in place."""
        self.alpha_p.fill_(math.log(math.expm1(self.START)))
        self.alpha_n.fill_(math.log(math.expm1(self.START - self.BETA)))

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the activation of every element."""
        above = F.softplus(self.alpha_p).to(x.dtype)
        below = (self.BETA + F.softplus(self.alpha_n)).to(x.dtype)
        # Large x would overflow in the branch that is not taken, and make its gradient nan.
        fall = torch.expm1(x.clamp(max=self.TOP)) - x
        return torch.where(x > 0, above * x * x, below * fall) + self.BETA * x


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "relu2": relu2,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "elu": F.elu,
    "selu": F.selu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "identity": identity,
    "sigmoid": torch.sigmoid,
}
"""The function of every activation's name, but of those that learn something."""


def build_activation(config: FeedForwardConfig) -> Callable[[Tensor], Tensor]:
    """Return the configured non-linearity; a new module where it has parameters.

    Args:
        config: The feed-forward section.
    """
    if config.activation == "xielu":
        return XIELU()
    if config.alpha != 1:
        return partial(scaled_silu, alpha=config.alpha)
    return ACTIVATIONS[config.activation]
