"""How weights are drawn: a function of the configuration and the seed alone."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.model.config import InitConfig
from stabilitykit.model.norms import LayerNorm, RMSNorm
from stabilitykit.model.positions import LearnedPositions


@torch.no_grad()
def initialize(model: nn.Module, config: InitConfig, seed: int) -> None:
    """Draw all weights of a model anew, in place.

    Linear weights are xavier normal, N(0, 2/(fan_in + fan_out)); embeddings N(0, embed_std²); gains 1.
    Draws come from a generator of their own on the CPU, in float32: the global random state, the device and
    the weights' type change nothing. Norms draw nothing, so that at equal sizes one seed gives every wiring
    the same matrices.

    Args:
        model: The model; its modules are visited in the order they were registered.
        config: Scheme and scale.
        seed: Any integer torch's generator takes.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        match module:
            case nn.Linear():
                std = (2 / (module.in_features + module.out_features)) ** 0.5
                _draw(module.weight, std, generator)
            case nn.Embedding() | LearnedPositions():
                _draw(module.weight, config.embed_std or 0.02, generator)
            case RMSNorm() | LayerNorm():
                module.weight.fill_(1.0)


def _draw(weight: Float[Tensor, "..."], std: float, generator: torch.Generator) -> None:
    weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float32) * std)
