"""Causal self-attention."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.context import Context
from stabilitykit.lab.model.norms import Norm, PerHeadNorm, build_norm
from stabilitykit.lab.model.positions import Rotation, rotate
from stabilitykit.lab.model.scores import eager, fused, takes_fused
from stabilitykit.lab.model.sections import LayerKind
from stabilitykit.lab.model.windows import windowed


class Attention(nn.Module):
    """Causal self-attention with any number of query heads to a key and value head.

    Queries and keys may pass a norm (Henry et al. 2010.04245), before or after their rotation; heads may
    share keys and values (Shazeer 1911.02150, Ainslie et al. 2305.13245). Logits that are capped or have a
    sink are written to memory; all others run through torch's fused kernel.
    """

    def __init__(self, config: TransformerConfig, kind: LayerKind | None = None) -> None:
        super().__init__()
        self._section, self._scale = config.attention, config.logit_scale
        self.n_heads, self.n_kv_heads = config.attention.n_heads, config.n_kv_heads
        width, heads, kv_heads = (
            config.d_model,
            self.n_heads * config.head_dim,
            self.n_kv_heads * config.head_dim,
        )
        bias = self._section.qkv_bias
        self.q_proj = nn.Linear(width, heads, bias=bias)
        self.k_proj = nn.Linear(width, kv_heads, bias=bias)
        self.v_proj = nn.Linear(width, kv_heads, bias=bias)
        self.out_norm = build_norm(config.norm_of("attn"), heads) if self._section.out_norm else None
        self.o_proj = nn.Linear(heads, width, bias=self._section.out_bias)
        normed = self._section.qk_norm != "none" and (kind is None or kind.qk_norm)
        self.q_norm = _head_norm(config, self.n_heads) if normed else None
        self.k_norm = _head_norm(config, self.n_kv_heads) if normed else None
        self.v_norm = _head_norm(config, self.n_kv_heads) if normed and self._section.v_norm else None
        self.head_scale = nn.Parameter(torch.ones(self.n_heads)) if self._section.head_scale else None
        self.sinks = nn.Parameter(torch.zeros(self.n_heads)) if self._section.sinks == "learned" else None

    @torch.no_grad()
    def reset(self) -> None:
        """Set the heads' factors to 1 and the sinks to 0, in place."""
        if self.head_scale is not None:
            self.head_scale.fill_(1.0)
        if self.sinks is not None:
            self.sinks.zero_()

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], context: Context | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return what every position gathers from itself and the positions before it.

        Args:
            x: What the layer reads.
            context: Mask, rotation and temperature; plainly causal when left out.
        """
        context = context or Context()
        q = self._heads(self.q_proj(x), self.n_heads, self.q_norm, context.rotation)
        k = self._heads(self.k_proj(x), self.n_kv_heads, self.k_norm, context.rotation)
        v = self._heads(self.v_proj(x), self.n_kv_heads, self.v_norm, None)
        if context.cache is not None:
            k, v = context.cache.extended(k, v)
        q = _tempered(q, context.temperature)
        gathered = (self._attend_once if context.one_query else self._attend)(q, k, v, context)
        joined = self._head_scaled(gathered).transpose(1, 2).flatten(2)
        if self.out_norm is not None:
            joined = self.out_norm(joined)
        out: Tensor = self.o_proj(joined)
        return out

    def _heads(
        self,
        x: Float[Tensor, "batch seq width"],
        n_heads: int,
        norm: Norm | PerHeadNorm | None,
        turn: Rotation | None,
    ) -> Float[Tensor, "batch heads seq head_dim"]:
        """Return a projection clipped, split into heads, normalised and rotated, in the configured order."""
        section = self._section
        if section.clip_qkv is not None:
            x = x.clamp(-section.clip_qkv, section.clip_qkv)
        if norm is not None and section.qk_norm == "full":
            x, norm = norm(x), None
        # Norms act on the projection's own order in memory; transposed, they would have to copy it.
        heads = x.view(*x.shape[:-1], n_heads, -1)
        if norm is not None and section.qk_norm_at == "pre_rope":
            heads, norm = norm(heads), None
        heads = heads.transpose(1, 2)
        if turn is not None:
            heads = rotate(heads, turn)
        return heads if norm is None else norm(heads.transpose(1, 2)).transpose(1, 2)

    def _head_scaled(
        self, gathered: Float[Tensor, "batch heads seq head_dim"]
    ) -> Float[Tensor, "batch heads seq head_dim"]:
        if self.head_scale is None:
            return gathered
        return gathered * self.head_scale.to(gathered.dtype).view(-1, 1, 1)

    def _attend_once(
        self,
        q: Float[Tensor, "batch heads 1 head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        context: Context,
    ) -> Float[Tensor, "batch heads 1 head_dim"]:
        """Return what each head's only query gathers."""
        # As rows of one head, queries that share keys and values read them once.
        rows = q.reshape(len(q), self.n_kv_heads, -1, q.shape[-1])
        return self._attend(rows, k, v, context).reshape(q.shape)

    def _attend(
        self,
        q: Float[Tensor, "batch heads seq head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        context: Context,
    ) -> Float[Tensor, "batch heads seq head_dim"]:
        causal = not context.one_query
        section, dropout = self._section, self._section.dropout if self.training else 0.0
        if context.window is not None:
            return windowed(q, k, v, context.window, context.mask, self._scale, dropout)
        if takes_fused(section):
            return fused(q, k, v, context.mask, self._scale, dropout, causal=causal)
        sinks = q.new_zeros(self.n_heads) if section.sinks == "zero" else self.sinks
        mask, scale, cap = context.mask, self._scale, section.softcap
        return eager(q, k, v, mask, scale, dropout, cap, sinks, causal=causal)


def _tempered(
    q: Float[Tensor, "batch heads seq head_dim"], temperature: Float[Tensor, "seq"] | None
) -> Float[Tensor, "batch heads seq head_dim"]:
    return q if temperature is None else q * temperature.unsqueeze(-1)


def _head_norm(config: TransformerConfig, n_heads: int) -> Norm | PerHeadNorm:
    """Return a new norm for queries, keys or values of that many heads."""
    if config.attention.qk_gain_per_head:
        return PerHeadNorm(n_heads, config.head_dim, config.qk_norm)
    full = config.attention.qk_norm == "full"
    return build_norm(config.qk_norm, n_heads * config.head_dim if full else config.head_dim)
