"""Count a configuration's parameters without their memory."""

import torch
from torch import nn

from stabilitykit.model.block import Block
from stabilitykit.model.config import TransformerConfig
from stabilitykit.model.embedding import Embedding, Head
from stabilitykit.model.norms import build_norm
from stabilitykit.model.positions import build_logit_bias

PARTS = ("embedding", "attention", "feedforward", "norms", "head", "other")
"""Parts of a model, as ``parameters_by_part`` names them."""


def parameters_by_part(config: TransformerConfig) -> dict[str, int]:
    """Return how many parameters each of the ``PARTS`` has; a tied head has none of its own.

    Norms are those on the line and in branches, outside attention and feed-forward; ``other`` are factors
    on branches, and biases of attention that all layers share.

    Args:
        config: The configuration; of any size, since no memory is taken for weights.
    """
    counts = dict.fromkeys(PARTS, 0)
    for part, name, parameter in _parameters(config):
        if not (config.head.tied and (part, name) == ("head", "linear.weight")):
            counts[part] += parameter.numel()
    return counts


def _parameters(config: TransformerConfig) -> list[tuple[str, str, nn.Parameter]]:
    with torch.device("meta"):
        modules = [("embedding", Embedding(config)), ("head", Head(config))]
        blocks = [Block(config, layer) for layer in range(config.n_layers)]
        if config.has_final_norm:
            modules.append(("norms", build_norm(config.norm_of("final"), config.d_model)))
        if (bias := build_logit_bias(config)) is not None:
            modules.append(("other", bias))
    ends = [(part, name, p) for part, module in modules for name, p in module.named_parameters()]
    return ends + [(_part(name), name, p) for block in blocks for name, p in block.named_parameters()]


def _part(name: str) -> str:
    module = name.partition(".")[0]
    if module.endswith("_norm"):
        return "norms"
    return {"attn": "attention", "mlp": "feedforward"}.get(module, "other")
