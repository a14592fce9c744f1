"""Tell what a module of an unknown model is, by its type and its name."""

import re

from torch import nn

_NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
)
_NORM_NAME = re.compile(r"norm", re.IGNORECASE)
_LINEAR_NAME = re.compile(r"(Linear|Conv1D)", re.IGNORECASE)
_GAINS = ("weight", "scale", "gamma", "g", "gain")


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a norm: a known type, or one called so that holds vectors at most."""
    if isinstance(module, _NORMS):
        return True
    # A block may be called PreNorm: it holds a sublayer, and so matrices.
    vectors = all(parameter.dim() <= 1 for parameter in module.parameters())
    return bool(_NORM_NAME.search(type(module).__name__)) and vectors and len(list(module.children())) <= 1


def is_linear(module: nn.Module) -> bool:
    """Return whether a module multiplies by one matrix: a linear layer, a convolution or a wrapper of one."""
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return True
    return bool(_LINEAR_NAME.search(type(module).__name__)) and _weight_is_matrix(module)


def holds_matrices(module: nn.Module) -> bool:
    """Return whether a module multiplies by matrices of its own: a linear one, a router, packed experts."""
    if is_linear(module) or isinstance(module, nn.Embedding):
        return is_linear(module)
    return any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))


def gain_name(module: nn.Module) -> str | None:
    """Return the name of a norm's gain among its parameters, or None where it has none."""
    own = {name for name, parameter in module.named_parameters(recurse=False) if parameter.dim() <= 1}
    return next((name for name in _GAINS if name in own), None)


def _weight_is_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.dim() == 2
