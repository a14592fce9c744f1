"""The gated feed-forward sublayer."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.model.config import TransformerConfig


class FeedForward(nn.Module):
    """SwiGLU: ``(silu(x W_gate) ⊗ x W_up) W_down`` (Shazeer 2002.05202)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down_proj = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        """Return the sublayer's output, each position on its own."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out
