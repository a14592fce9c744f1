"""How weights are drawn: a function of the configuration and the seed alone."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.lab.model.activations import XIELU
from stabilitykit.lab.model.attention import Attention
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.embedding import Head
from stabilitykit.lab.model.feedforward import FeedForward
from stabilitykit.lab.model.norms import Norm, PerHeadNorm
from stabilitykit.lab.model.positions import LearnedPositions, T5Bias
from stabilitykit.lab.model.residual import Gate, Gpas
from stabilitykit.lab.model.sections import Scheme
from stabilitykit.lab.model.unit_weights import normalise_weights

_IN_BLOCK = re.compile(r"blocks\.(?P<layer>\d+)\.(?:attn|mlp)\.(?P<part>\w+)_proj")


@dataclass(frozen=True, slots=True)
class Matrix:
    """Which matrix of the model is drawn."""

    part: str
    """``q``, ``k``, ``v``, ``o``, ``gate``, ``up``, ``down`` or ``head``."""
    layer: int
    """Its layer, from 0; 0 for the head."""
    fan_in: int
    fan_out: int

    @property
    def ends_branch(self) -> bool:
        """Whether its output is what the branch adds."""
        return self.part in ("o", "down")

    @property
    def carries_values(self) -> bool:
        """Whether it stands on the way of the values: all of a block but queries and keys."""
        return self.part in ("v", "o", "gate", "up", "down")


Rule = Callable[[Matrix, TransformerConfig], float]


@torch.no_grad()
def initialize(model: nn.Module, config: TransformerConfig, seed: int) -> None:
    """Draw all weights of a model anew, in place.

    Matrices are normal with the scheme's standard deviation, embeddings N(0, embed_std²); gains start at 1,
    biases at 0, gates where they are configured to. Draws come from a generator of their own on the CPU, in
    float32: the global random state, the device and the weights' type change nothing. Norms draw nothing,
    so that at equal sizes one seed gives every wiring the same matrices.

    Args:
        model: The model; its modules are visited in the order they were registered.
        config: Its configuration.
        seed: Any integer torch's generator takes.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        match module:
            case nn.Linear():
                _initialize_linear(module, name, config, generator)
            case nn.Embedding() | LearnedPositions():
                _draw(module.weight, config.embed_std, generator)
            case T5Bias():
                _draw(module.weight, config.base_width**-0.5, generator)
            case Norm() | PerHeadNorm() | Gate() | Gpas() | Attention() | FeedForward() | Head() | XIELU():
                module.reset()
    if config.unit_weights:
        normalise_weights(model)


def matrix_std(matrix: Matrix, config: TransformerConfig) -> float:
    """Return the standard deviation with which a matrix is drawn.

    Args:
        matrix: Which one.
        config: The model's configuration.
    """
    section = config.initialization
    if (section.zero_branch_out and matrix.ends_branch) or (section.zero_head and matrix.part == "head"):
        return 0.0
    return SCHEMES[section.scheme](matrix, config)


def _initialize_linear(
    linear: nn.Linear, name: str, config: TransformerConfig, generator: torch.Generator
) -> None:
    found = _IN_BLOCK.search(name)
    part, layer = (found["part"], int(found["layer"])) if found else ("head", 0)
    if not (part == "head" and config.head.tied):
        matrix = Matrix(part, layer, linear.in_features, linear.out_features)
        _draw(linear.weight, matrix_std(matrix, config), generator)
    if linear.bias is not None:
        linear.bias.zero_()


def _draw(weight: Float[Tensor, "..."], std: float, generator: torch.Generator) -> None:
    weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float32) * std)


def _xavier(matrix: Matrix, config: TransformerConfig) -> float:
    return float((2 / (matrix.fan_in + matrix.fan_out)) ** 0.5)


def _normal(matrix: Matrix, config: TransformerConfig) -> float:
    return config.initialization.std


def _gpt2(matrix: Matrix, config: TransformerConfig) -> float:
    """All branches together add about as much as the embedding, at any depth (Radford et al. 2019)."""
    std = config.initialization.std
    return std / math.sqrt(2 * config.n_layers) if matrix.ends_branch else std


def _llama_depth(matrix: Matrix, config: TransformerConfig) -> float:
    std = config.initialization.std
    return std / math.sqrt(2 * (matrix.layer + 1)) if matrix.ends_branch else std


def _small(matrix: Matrix, config: TransformerConfig) -> float:
    """Nguyen & Salazar 1910.05895."""
    return math.sqrt(2 / (5 * config.d_model))


def _wang(matrix: Matrix, config: TransformerConfig) -> float:
    """As in GPT-NeoX-20B, Black et al. 2204.06745."""
    ends = 2 / (config.n_layers * math.sqrt(config.d_model))
    return ends if matrix.ends_branch else _small(matrix, config)


def _values_scaled(factor: Callable[[int], float]) -> Rule:
    """Return xavier with all matrices but queries' and keys' scaled by a function of the depth."""

    def rule(matrix: Matrix, config: TransformerConfig) -> float:
        return _xavier(matrix, config) * (factor(config.n_layers) if matrix.carries_values else 1.0)

    return rule


def _t5(matrix: Matrix, config: TransformerConfig) -> float:
    """Logits are not scaled there: the queries' matrix absorbs head_dim^-½ (Raffel et al. 1910.10683)."""
    extra = config.head_dim if matrix.part == "q" else 1
    return float((matrix.fan_in * extra) ** -0.5)


def _fan_in(matrix: Matrix, config: TransformerConfig) -> float:
    """Whatever the width, outputs are of the inputs' size (LeCun et al. 1998)."""
    return float(matrix.fan_in**-0.5)


def _spectral(matrix: Matrix, config: TransformerConfig) -> float:
    """About the same spectral norm, √(fan_out/fan_in), for all shapes (Yang et al. 2310.17813)."""
    return float(min(1.0, (matrix.fan_out / matrix.fan_in) ** 0.5) * matrix.fan_in**-0.5)


def _mup(matrix: Matrix, config: TransformerConfig) -> float:
    """Fan-in, but for the head, whose logits are scaled by the width instead (Yang et al. 2203.03466)."""
    return float(config.base_width**-0.5) if matrix.part == "head" else _fan_in(matrix, config)


SCHEMES: dict[Scheme, Rule] = {
    "xavier": _xavier,
    "normal": _normal,
    "gpt2": _gpt2,
    "llama_depth": _llama_depth,
    "small": _small,
    "wang": _wang,
    "deepnorm": _values_scaled(lambda n_layers: (8 * n_layers) ** -0.25),
    "subln": _values_scaled(lambda n_layers: math.log(2 * n_layers) ** 0.5),
    "tfixup": _values_scaled(lambda n_layers: 0.67 * n_layers**-0.25),
    "t5": _t5,
    "fan_in": _fan_in,
    "spectral": _spectral,
    "mup": _mup,
}
"""The standard deviation of a matrix, by scheme."""
