"""How a token's position enters the residual line."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stabilitykit.errors import ConfigError
from stabilitykit.model.config import TransformerConfig


class LearnedPositions(nn.Module):
    """Holds one learned vector a position."""

    def __init__(self, seq_len: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(seq_len, d_model))

    def forward(self, length: int) -> Float[Tensor, "seq d_model"]:
        """Return the vectors of the first ``length`` positions.

        Raises:
            ConfigError: There are fewer positions than that.
        """
        if length > len(self.weight):
            raise ConfigError(f"model.seq_len: got a sequence of {length} tokens; at most {len(self.weight)}")
        return self.weight[:length]


class Embedding(nn.Module):
    """Turns tokens into the residual line: token embedding plus position embedding."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        self.position = LearnedPositions(config.seq_len, config.d_model)

    def forward(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        """Return the residual line before the first block."""
        embedded: Tensor = self.token(tokens) + self.position(tokens.shape[1])
        return embedded
