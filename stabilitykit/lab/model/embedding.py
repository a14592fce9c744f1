"""The two ends: from tokens to the residual stream, and from the stream to logits."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.norms import build_norm
from stabilitykit.lab.model.positions import LearnedPositions, sine_positions


class Embedding(nn.Module):
    """Turns tokens into the residual stream: scaled token embedding, positions, norm, dropout."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self._seq_len, self._dropout = config.seq_len, config.embedding.dropout
        scale = config.embedding.scale
        self._scale = config.d_model**0.5 if scale == "sqrt_d" else float(scale)
        self._sine = config.position if config.position.kind == "sine" else None
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        learned = config.position.kind == "learned"
        self.position = LearnedPositions(config.seq_len, config.d_model) if learned else None
        self.norm = build_norm(config.norm_of("embed"), config.d_model) if config.embedding.norm else None

    def forward(self, tokens: Int[Tensor, "batch seq"], start: int = 0) -> Float[Tensor, "batch seq d_model"]:
        """Return the residual stream before the first block.

        Args:
            tokens: Token indices.
            start: Tokens before them in their sequence.

        Raises:
            ConfigError: The sequence is longer than the configuration allows.
        """
        length = tokens.shape[1]
        if start + length > self._seq_len:
            raise ConfigError(
                f"model.seq_len: got a sequence of {start + length} tokens; at most {self._seq_len}"
            )
        line: Tensor = self.token(tokens)
        if self._scale != 1:
            line = line * self._scale
        if self.position is not None:
            line = line + self.position(length, start)
        elif self._sine is not None:
            line = line + sine_positions(length, line.shape[-1], self._sine, start).to(line)
        if self.norm is not None:
            line = self.norm(line)
        return F.dropout(line, self._dropout, self.training) if self._dropout else line


class Head(nn.Module):
    """Projects the residual stream to logits; ``logits`` marks them for others to look at."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self._scale, self._softcap = config.output_scale, config.head.softcap
        self.linear = nn.Linear(config.d_model, config.vocab_size, bias=config.head.bias)
        self.gain = nn.Parameter(torch.ones(config.vocab_size)) if config.head.gain else None
        self.logits = nn.Identity()

    @torch.no_grad()
    def reset(self) -> None:
        """Set the tokens' factors to 1, in place."""
        if self.gain is not None:
            self.gain.fill_(1.0)

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq vocab"]:
        """Return one logit a token of the vocabulary: scaled, times its gain, then capped."""
        logits: Tensor = self.logits(self._capped(self._gained(self._scaled(self.linear(x)))))
        return logits

    def _scaled(self, scores: Float[Tensor, "batch seq vocab"]) -> Float[Tensor, "batch seq vocab"]:
        return scores if self._scale == 1 else scores * self._scale

    def _gained(self, scores: Float[Tensor, "batch seq vocab"]) -> Float[Tensor, "batch seq vocab"]:
        return scores if self.gain is None else scores * self.gain.to(scores.dtype)

    def _capped(self, scores: Float[Tensor, "batch seq vocab"]) -> Float[Tensor, "batch seq vocab"]:
        return scores if self._softcap is None else self._softcap * torch.tanh(scores / self._softcap)
