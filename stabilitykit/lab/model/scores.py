"""Softmax attention over given queries, keys and values: by torch's fused kernel, or matrix by matrix."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from stabilitykit.lab.model.sections import AttentionConfig

Mask = Bool[Tensor, "*blocks seq keys"] | Float[Tensor, "heads seq keys"] | None


def takes_fused(section: AttentionConfig) -> bool:
    """Return whether attention runs through torch's fused kernel, which takes neither caps nor sinks."""
    return section.implementation == "auto" and section.softcap is None and section.sinks == "none"


def fused(
    q: Float[Tensor, "batch heads seq head_dim"],
    k: Float[Tensor, "batch kv_heads keys head_dim"],
    v: Float[Tensor, "batch kv_heads keys head_dim"],
    mask: Mask,
    scale: float,
    dropout: float = 0.0,
    *,
    causal: bool = True,
) -> Float[Tensor, "batch heads seq head_dim"]:
    """Return what each query gathers, through torch's fused kernel.

    Args:
        q: Queries.
        k: Keys; each head serves as many neighbouring heads of queries as there are to one.
        v: Values.
        mask: True where a key is visible, or what is added to the logits; None for plainly causal.
        scale: Factor on q·k.
        dropout: Share of weights set to zero.
        causal: Whether no mask means plainly causal, rather than that every query sees every key.
    """
    if mask is not None and mask.is_floating_point():
        # The fused kernel takes masks of two or four dimensions; three would go to a slower path.
        mask = mask.to(q.dtype).unsqueeze(0)
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=causal and mask is None,
        scale=scale,
        enable_gqa=k.shape[1] < q.shape[1],
    )


def eager(
    q: Float[Tensor, "batch heads seq head_dim"],
    k: Float[Tensor, "batch kv_heads keys head_dim"],
    v: Float[Tensor, "batch kv_heads keys head_dim"],
    mask: Mask,
    scale: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    sinks: Float[Tensor, "n"] | None = None,
    *,
    causal: bool = True,
) -> Float[Tensor, "batch heads seq head_dim"]:
    """Return what each query gathers, with the logits written to memory.

    The order is scale, cap, mask, softmax; the softmax is taken at least in float32.

    Args:
        q: Queries.
        k: Keys; each head serves as many neighbouring heads of queries as there are to one.
        v: Values.
        mask: True where a key is visible, or what is added to the logits; None for plainly causal.
        scale: Factor on q·k.
        dropout: Share of weights set to zero.
        softcap: c in c·tanh(logit/c); None for no cap.
        sinks: A further logit a head, or a row of a head, which takes its part of the softmax and gathers
            nothing.
        causal: Whether no mask means plainly causal, rather than that every query sees every key.
    """
    if k.shape[1] < q.shape[1]:
        k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
    if causal and mask is None:
        mask = q.new_ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    weights = _weights(_scores(q, k), scale, softcap, mask, sinks)
    if dropout:
        weights = F.dropout(weights, dropout)
    return weights.to(v.dtype) @ v


def _scores(
    q: Float[Tensor, "batch heads seq head_dim"], k: Float[Tensor, "batch heads keys head_dim"]
) -> Float[Tensor, "batch heads seq keys"]:
    return q @ k.mT


def _weights(
    scores: Float[Tensor, "batch heads seq keys"],
    scale: float,
    softcap: float | None,
    mask: Mask,
    sinks: Float[Tensor, "n"] | None,
) -> Float[Tensor, "batch heads seq keys"]:
    """Return the share of every key that each query gathers, at least in float32."""
    logits = scores * scale
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    if mask is not None:
        logits = _masked(logits, mask)
    if sinks is None:
        return logits.softmax(-1)
    column = sinks.to(logits.dtype).view(1, logits.shape[1], -1, 1).expand(*logits.shape[:-1], 1)
    return torch.cat((logits, column), -1).softmax(-1)[..., :-1]


def _masked(
    logits: Float[Tensor, "batch heads seq keys"], mask: Tensor
) -> Float[Tensor, "batch heads seq keys"]:
    if mask.is_floating_point():
        return logits + mask.to(logits.dtype)
    return logits.masked_fill(~mask, float("-inf"))
