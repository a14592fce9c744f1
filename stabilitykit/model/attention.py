"""Causal self-attention."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.model.config import TransformerConfig
from stabilitykit.model.norms import RMSNorm


class Attention(nn.Module):
    """Multi-head causal self-attention through torch's fused kernel.

    With ``qk_norm="head"`` queries and keys pass an RMSNorm over each head's width before their dot
    product, with one gain shared by the heads (Henry et al. 2010.04245).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, self.n_heads = config.d_model, config.attention.n_heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        normed = config.attention.qk_norm == "head"
        self.q_norm = RMSNorm(config.head_dim, config.norm.eps) if normed else None
        self.k_norm = RMSNorm(config.head_dim, config.norm.eps) if normed else None

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        """Return what every position gathers from itself and the positions before it."""
        q, k, v = (self._heads(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        gathered = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.o_proj(gathered.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch heads seq head_dim"]:
        return x.view(*x.shape[:-1], self.n_heads, -1).transpose(1, 2)
