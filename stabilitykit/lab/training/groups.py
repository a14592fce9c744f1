"""Which weights decay, and which take another learning rate than the base one."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from stabilitykit.lab.model.residual import Gate
from stabilitykit.lab.model.transformer import Transformer

Group = dict[str, Any]
"""``params``, ``lr`` and ``weight_decay``, as torch's optimizers take them."""


def parameter_groups(model: Transformer, lr: float, weight_decay: float) -> list[Group]:
    """Return a model's parameters grouped for AdamW; the first group has the base learning rate.

    The matrices of linear layers decay, the head's among them, and with the head's a token embedding tied
    to it; other embeddings, gains, factors and biases do not.

    With ``initialization.scheme: mup`` (Yang et al. 2203.03466, table 8) the matrices in the blocks learn at
    ``lr · mup_base_width/d_model``, all else at ``lr``. AdamW's decay a step is ``lr · weight_decay``; it is
    kept the same at every width, and so these matrices' ``weight_decay`` is the base one times
    ``d_model/mup_base_width``.

    With ``unit_weights`` nothing decays: lengths are fixed. The factors on queries, keys and logits learn at
    ``lr · √d_model``, those on branches at ``lr · start · √d_model``; to Adam this is the same as nGPT's
    storing them as d_model^-½ (Loshchilov et al. 2410.01131, section 2.5).

    Args:
        model: The model; nothing but its configuration and its modules is looked at.
        lr: Base learning rate, above 0.
        weight_decay: AdamW's decay at the base learning rate, at least 0.
    """
    decay = 0.0 if model.config.unit_weights else weight_decay
    groups: dict[tuple[float, float], list[Tensor]] = {}
    factors = learning_rate_factors(model)
    for parameter, decays in _with_decay(model):
        factor = factors.get(id(parameter), 1.0)
        groups.setdefault((factor, decay / factor if decays else 0.0), []).append(parameter)
    return [
        {"params": parameters, "lr": lr * factor, "weight_decay": decay}
        for (factor, decay), parameters in sorted(groups.items(), key=lambda item: item[0][0] != 1)
    ]


def block_matrices(model: Transformer) -> list[Tensor]:
    """Return the matrices of the blocks, attention's and feed-forward's."""
    return [module.weight for module in model.blocks.modules() if isinstance(module, nn.Linear)]


def learning_rate_factors(model: Transformer) -> dict[int, float]:
    """Return the factor on the learning rate by the ``id`` of the parameter, where it is not 1."""
    config = model.config
    factors = {id(matrix): config.base_width / config.d_model for matrix in block_matrices(model)}
    if config.unit_weights:
        root = config.d_model**0.5
        factors |= {id(parameter): start * root for parameter, start in _factors_on_the_sphere(model)}
    return {key: factor for key, factor in factors.items() if factor != 1}


def _factors_on_the_sphere(model: Transformer) -> Iterator[tuple[Tensor, float]]:
    """Yield the learned factors that nGPT stores as d_model^-½, with where they start."""
    for name, module in model.blocks.named_modules():
        if isinstance(module, Gate) and module.start:
            yield module.weight, abs(module.start)
        if name.endswith((".q_norm", ".k_norm")):
            yield from ((gain, 1.0) for gain in module.parameters(recurse=False))
    if model.head.gain is not None:
        yield model.head.gain, 1.0


def _with_decay(model: Transformer) -> Iterator[tuple[Tensor, bool]]:
    matrices = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    yield from ((matrix, True) for matrix in matrices)
    decaying = {id(matrix) for matrix in matrices}
    yield from ((each, False) for each in model.parameters() if id(each) not in decaying)
