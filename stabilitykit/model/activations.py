"""The non-linearities of the feed-forward sublayer."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from stabilitykit.model.sections import Activation


def relu2(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the square of what is positive (So et al. 2109.08668)."""
    return F.relu(x).square()


def gelu_tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return GELU in its tanh form, which differs from the exact one by up to 5e-4."""
    return F.gelu(x, approximate="tanh")


def identity(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``x``: with a gate, the bilinear layer."""
    return x


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "relu2": relu2,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "elu": F.elu,
    "selu": F.selu,
    "identity": identity,
    "sigmoid": torch.sigmoid,
}
"""The function of every activation's name."""
