"""Coordinate check: does what a few steps change in the activations depend on the width?"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.transformer import Transformer
from stabilitykit.lab.training.config import OptimizerConfig
from stabilitykit.lab.training.optimizers import build_optimizer

SITES = {"attn": ".attn_out", "mlp": ".mlp_out", "line": ".resid_post", "logits": "head.logits"}
"""Where activations are read, by the end of a module's name; the last block's are taken."""

_BATCH, _LENGTH = 8, 32


def coordinate_check(
    configs: Mapping[int, TransformerConfig], optimizer: OptimizerConfig, steps: int, seeds: Sequence[int]
) -> dict[str, dict[int, float]]:
    """Return the root mean square of what training changed, by site and width (Yang et al. 2203.03466, D.1).

    Each model is trained on batches of random tokens and read on one of them before and after. In the last
    block that is what attention and feed-forward add to the stream, and the stream; then the logits. Under µP
    none of it grows with the width, and with ``initialization.zero_head`` none of it falls; logits of a head
    that starts at random do fall at first, since that start is the smaller the wider the model.

    Args:
        configs: Models by their width, alike in all else; their vocabularies must be of one size.
        optimizer: How they are trained, at a constant learning rate.
        steps: Optimizer steps, at least 1.
        seeds: Of weights and tokens; the changes are averaged over them.
    """
    changes: dict[str, dict[int, float]] = {site: {} for site in SITES}
    for width, config in configs.items():
        runs = [_changes(config, optimizer, steps, seed) for seed in seeds]
        for site in SITES:
            changes[site][width] = float(np.mean([run[site] for run in runs]))
    return changes


def width_exponent(by_width: Mapping[int, float]) -> float:
    """Return the exponent p of the power of the width that fits best: value ∝ width^p.

    Args:
        by_width: Positive values of at least two widths.
    """
    widths, values = np.log(list(by_width)), np.log(list(by_width.values()))
    return float(np.polyfit(widths, values, 1)[0])


def _changes(
    config: TransformerConfig, optimizer: OptimizerConfig, steps: int, seed: int
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    size = (steps, _BATCH, min(_LENGTH, config.seq_len) + 1)
    # Skewed as words are: there is something to learn at once, and updates of one direction.
    batches = (torch.rand(size, generator=generator) ** 3 * config.vocab_size).long()
    model = Transformer(config, seed=seed)
    training = build_optimizer(model, optimizer)
    before = _activations(model, batches[0, :, :-1])
    for batch in batches:
        training.zero_grad()
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        torch.autograd.backward(loss)
        training.step()
    after = _activations(model, batches[0, :, :-1])
    return {site: float((after[site] - before[site]).square().mean().sqrt()) for site in SITES}


@torch.no_grad()
def _activations(
    model: Transformer, tokens: Int[Tensor, "batch seq"]
) -> dict[str, Float[Tensor, "batch seq width"]]:
    seen: dict[str, Tensor] = {}

    def keep(site: str, module: nn.Module, inputs: object, output: Tensor) -> None:
        seen[site] = output

    handles = [
        module.register_forward_hook(partial(keep, site))
        for name, module in model.named_modules()
        for site, end in SITES.items()
        if name.endswith(end)
    ]
    model(tokens)
    for handle in handles:
        handle.remove()
    return seen
