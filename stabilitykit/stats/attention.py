"""Attention logits and entropy on a few exact rows, beside a fused kernel and without the T×T matrix.

Notation: s_ij = scale · q_i · k_j for the keys j that row i sees, n_i of them, L_i = ln Σ_j exp s_ij.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

MIN_VISIBLE_KEYS = 8
"""Rows that see fewer keys are not sampled for entropy: their maximum ln n is too small to divide by."""


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One call of an attention kernel, after position embedding and QK-norm."""

    q: Float[Tensor, "batch heads queries head_dim"]
    k: Float[Tensor, "batch kv_heads keys head_dim"]
    scale: float
    causal: bool
    """Top-left aligned: row i sees keys 0 to i."""

    @property
    def group(self) -> int:
        """Query heads per key head (grouped-query attention)."""
        return self.q.shape[1] // self.k.shape[1]

    def logits(
        self, sequence: Int[Tensor, "heads"], rows: Int[Tensor, "heads rows"]
    ) -> Float[Tensor, "heads rows keys"]:
        """Return the exact logits of some rows, one sequence a head; hidden keys are -inf."""
        heads = torch.arange(self.q.shape[1], device=self.q.device)
        q = self.q[sequence[:, None], heads[:, None], rows].float()
        k = self.k[sequence, heads // self.group].float()
        s = torch.matmul(q, k.mT).mul_(self.scale)
        if self.causal:
            s.masked_fill_(torch.arange(k.shape[1], device=s.device) > rows[..., None], -math.inf)
        return s


def largest_logit(
    call: AttentionCall, lse: Float[Tensor, "batch heads queries"], rows: int = 16
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the largest logit found, and an upper bound of the largest there is.

    Since max_j s_ij ≤ L_i, only rows with a large L can hold the maximum. Per head, the sequence with the
    largest L is searched: its ``rows`` rows of largest L exactly. The largest L of any row not searched
    bounds the rest, so the found value is exact as soon as it reaches the bound.

    Args:
        call: The kernel call.
        lse: L in nats, float32, from the kernel.
        rows: Rows searched per head.
    """
    per_sequence = lse.amax(-1).topk(min(2, lse.shape[0]), dim=0)
    sequence = per_sequence.indices[0]
    heads = torch.arange(lse.shape[1], device=lse.device)
    searched = lse[sequence, heads].topk(min(rows + 1, lse.shape[2]), dim=-1)
    found = call.logits(sequence, searched.indices[:, :rows]).amax((-1, -2))
    bound = found
    if searched.values.shape[1] > rows:
        bound = torch.maximum(bound, searched.values[:, rows])
    if lse.shape[0] > 1:
        bound = torch.maximum(bound, per_sequence.values[1])
    return found.amax(), bound.amax()


def entropy(
    call: AttentionCall, lse: Float[Tensor, "batch heads queries"] | None, rows: int = 16
) -> Float[Tensor, "heads"]:
    """Return each head's mean attention entropy over ln n, on evenly spaced rows of the first sequence.

    H_i = −Σ_j p_ij ln p_ij with p_ij = exp(s_ij − L_i), exact on the rows looked at. The rows depend on
    the shape alone, so nothing is drawn from the random state.

    Args:
        call: The kernel call.
        lse: L in nats, float32, from the kernel; computed for the rows looked at where it gives none.
        rows: Rows looked at per head.

    Returns:
        One value in [0, 1] a head; NaN where a logit is NaN, or where no row sees 8 keys.
    """
    n_heads, n_rows = call.q.shape[1], call.q.shape[2]
    index, maximum = _entropy_rows(n_rows, call.k.shape[2], call.causal, rows, call.q.device)
    if index.numel() == 0:
        return torch.full((n_heads,), math.nan, device=call.q.device)
    sequence = torch.zeros(n_heads, dtype=torch.long, device=call.q.device)
    s = call.logits(sequence, index.expand(n_heads, -1))
    level = torch.logsumexp(s, -1, keepdim=True) if lse is None else lse[0][:, index, None].float()
    p = s.sub_(level).exp_()
    heads: Tensor = (torch.special.entr(p).sum(-1) / maximum).mean(-1)
    return heads


def norm_bound(call: AttentionCall) -> Float[Tensor, ""]:
    """Return scale · max‖q‖ · max‖k‖, an upper bound of every logit (Cauchy and Schwarz)."""
    q = torch.linalg.vector_norm(call.q.float(), dim=-1).amax((-1, 0))
    k = torch.linalg.vector_norm(call.k.float(), dim=-1).amax((-1, 0))
    bound: Tensor = (q * k.repeat_interleave(call.group)).amax() * call.scale
    return bound


@lru_cache(maxsize=64)
def _entropy_rows(
    n_rows: int, n_keys: int, causal: bool, rows: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    first = MIN_VISIBLE_KEYS - 1 if causal else 0
    if n_keys < MIN_VISIBLE_KEYS or n_rows <= first:
        return torch.empty(0, dtype=torch.long, device=device), torch.empty(0, device=device)
    index = torch.linspace(first, n_rows - 1, min(rows, n_rows - first)).round().long()
    visible = (index + 1).clamp_max(n_keys) if causal else torch.full_like(index, n_keys)
    return index.to(device), visible.float().log().to(device)
