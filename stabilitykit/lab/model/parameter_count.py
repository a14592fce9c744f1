"""Count a configuration's parameters without their memory."""

from collections import Counter

import torch
from torch import nn

from stabilitykit.lab.model.block import Block
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.embedding import Embedding, Head
from stabilitykit.lab.model.norms import build_norm
from stabilitykit.lab.model.positions import build_logit_bias

PARTS = ("embedding", "attention", "feedforward", "norms", "head", "other")
"""Parts of a model, as ``parameters_by_part`` names them."""

_ENDS = {"embed": "embedding", "head": "head", "final_norm": "norms", "logit_bias": "other"}


def parameters_by_part(config: TransformerConfig) -> dict[str, int]:
    """Return how many parameters each of the ``PARTS`` has; a tied head has none of its own.

    Norms are those on the stream and in branches, outside attention and feed-forward; ``other`` are factors
    on branches, and biases of attention that all layers share.

    Args:
        config: The configuration; of any size, since no memory is taken for weights.
    """
    counts = dict.fromkeys(PARTS, 0)
    for name, count in parameters_by_name(config).items():
        counts[_part(name)] += count
    return counts


def parameters_by_name(config: TransformerConfig) -> dict[str, int]:
    """Return how many parameters a model has under each name, those of all blocks under one.

    The names are the model's, ``blocks.attn.q_proj.weight`` for the sum over ``blocks.0.attn.q_proj.weight``
    and on; a tied head's matrix is left out.

    Args:
        config: The configuration; of any size, since no memory is taken for weights.
    """
    counts: Counter[str] = Counter()
    with torch.device("meta"):
        for prefix, module, times in _modules(config):
            for name, parameter in module.named_parameters():
                counts[f"{prefix}.{name}"] += parameter.numel() * times
    if config.head.tied:
        del counts["head.linear.weight"]
    return dict(counts)


def _modules(config: TransformerConfig) -> list[tuple[str, nn.Module, int]]:
    """Return what the model is made of, with how often; blocks that are alike are built once."""
    # All that a block's parameters depend on, beside the configuration.
    alike = [
        (config.layer_kind(layer), config.slots(layer, "attn"), config.slots(layer, "mlp"))
        for layer in range(config.n_layers)
    ]
    modules: list[tuple[str, nn.Module, int]] = [("embed", Embedding(config), 1)]
    modules += [("blocks", Block(config, alike.index(kind)), times) for kind, times in Counter(alike).items()]
    if config.has_final_norm:
        modules.append(("final_norm", build_norm(config.norm_of("final"), config.d_model), 1))
    if (bias := build_logit_bias(config)) is not None:
        modules.append(("logit_bias", bias, 1))
    return [*modules, ("head", Head(config), 1)]


def _part(name: str) -> str:
    first, _, rest = name.partition(".")
    if first != "blocks":
        return _ENDS[first]
    module = rest.partition(".")[0]
    if module.endswith("_norm"):
        return "norms"
    return {"attn": "attention", "mlp": "feedforward"}.get(module, "other")
