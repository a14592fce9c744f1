"""The configurable decoder-only transformer."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stabilitykit.model.block import Block
from stabilitykit.model.config import TransformerConfig
from stabilitykit.model.initialization import initialize
from stabilitykit.model.norms import build_norm
from stabilitykit.model.positions import Embedding


class Head(nn.Module):
    """Projects the residual line to logits; ``logits`` marks them for others to look at."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.logits = nn.Identity()

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq vocab"]:
        """Return one logit a token of the vocabulary."""
        logits: Tensor = self.logits(self.linear(x))
        return logits


class Transformer(nn.Module):
    """A decoder-only transformer, built and initialised from its configuration and a seed.

    Submodules are ``embed``, ``blocks``, ``final_norm`` (where the last sublayer leaves the line
    un-normalised) and ``head``.
    """

    def __init__(self, config: TransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        # torch's layers draw weights as they are built; those draws are not the caller's.
        with torch.random.fork_rng(devices=[]):
            self.embed = Embedding(config)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
            self.final_norm = build_norm(config.norm, config.d_model) if config.has_final_norm else None
            self.head = Head(config)
        initialize(self, config.initialization, seed)

    def forward(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        """Return the logits of every next token.

        Args:
            tokens: Token indices below ``vocab_size``, at most ``seq_len`` of them.

        Raises:
            ConfigError: The sequence is longer than ``seq_len``.
        """
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        if self.final_norm is not None:
            x = self.final_norm(x)
        logits: Tensor = self.head(x)
        return logits
