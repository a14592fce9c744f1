"""Attention logits and entropy on a few exact rows, beside a fused kernel and without the T×T matrix.

Notation: s_ij = scale · q_i · k_j for the keys j that row i sees, n_i of them, L_i = ln Σ_j exp s_ij.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

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
    bias: Float[Tensor, "batch heads queries keys"] | None = None
    """What is added to the logits, -inf where a key is hidden; an expanded view is enough."""

    @property
    def group(self) -> int:
        """Query heads per key head (grouped-query attention)."""
        return self.q.shape[1] // self.k.shape[1]

    def logits(
        self, sequence: Int[Tensor, "1"], rows: Int[Tensor, "heads rows"]
    ) -> Float[Tensor, "heads rows keys"]:
        """Return the exact logits of some rows of one sequence; hidden keys are -inf."""
        q = self.q[sequence, _range(self.q.shape[1], self.q.device)[:, None], rows].float()
        k = self.k.index_select(0, sequence)[0].float()
        if self.group > 1:
            k = k.repeat_interleave(self.group, dim=0)
        s = torch.matmul(q, k.mT).mul_(self.scale)
        if self.bias is not None:
            s += self.bias[sequence, _range(self.q.shape[1], s.device)[:, None], rows]
        if self.causal:
            s.masked_fill_(_range(k.shape[1], s.device) > rows[..., None], -math.inf)
        return s


class AttentionReading(NamedTuple):
    """What a few rows of a call tell."""

    logit_max: Float[Tensor, ""]
    """Largest logit on the rows searched."""
    logit_bound: Float[Tensor, ""]
    """Upper bound of every logit of the call; where it equals ``logit_max``, that is exact."""
    entropy: Float[Tensor, "heads"]
    """Each head's mean entropy over ln n, in [0, 1]."""


class _Search(NamedTuple):
    """Where the largest logit is looked for."""

    sequence: Int[Tensor, "1"]
    rows: Int[Tensor, "heads rows"]
    rest: Float[Tensor, ""]
    """Upper bound of every logit that is not looked at."""


def read_attention(
    call: AttentionCall, lse: Float[Tensor, "batch heads queries"] | None, rows: int = 16
) -> AttentionReading:
    """Return the largest logit, its upper bound and the entropy of a call, from a few rows of a sequence.

    **Logits.** Since max_j s_ij ≤ L_i, only rows with a large L can hold the maximum. In the sequence with
    the largest L, each head's ``rows`` rows of largest L are searched; the largest L of any row left out
    bounds the rest, so the found value is exact as soon as it reaches the bound. Where a kernel gives no
    L, the rows of largest ‖q‖ of the first sequence are searched, and scale · max‖q‖ · max‖k‖, plus the
    largest bias, is the bound. Logits are those that the softmax sees, bias included.

    **Entropy.** H_i = −Σ_j p_ij ln p_ij with p_ij = exp(s_ij − L_i), on evenly spaced rows of the same
    sequence; under a bias that hides keys, n is what is left of them. The rows depend on shapes and values
    alone: nothing is drawn from the random state.

    Args:
        call: The kernel call; at least 8 rows and keys.
        lse: L in nats, float32, from the kernel, or None where it gives none.
        rows: Rows searched per head, and rows sampled per head.
    """
    rows = min(rows, call.q.shape[2])
    search = _by_norm(call, rows) if lse is None else _by_lse(lse, rows)
    index, maximum = _entropy_rows(call.q.shape[2], call.k.shape[2], call.causal, rows, call.q.device)
    n_heads = call.q.shape[1]
    s = call.logits(search.sequence, torch.cat([search.rows, index.expand(n_heads, -1)], dim=1))
    found = s[:, :rows].amax()
    sampled = s[:, rows:]
    visible = None if call.bias is None else (sampled != -math.inf).sum(-1)
    if lse is None:
        level = torch.logsumexp(sampled, -1, keepdim=True)
    else:
        level = lse.index_select(0, search.sequence)[0][:, index, None].float()
    spread = torch.special.entr(sampled.sub_(level).exp_()).sum(-1)
    heads = (spread / maximum).mean(-1) if visible is None else _mean_share(spread, visible)
    return AttentionReading(found, torch.maximum(found, search.rest), heads)


def _mean_share(
    spread: Float[Tensor, "heads rows"], visible: Int[Tensor, "heads rows"]
) -> Float[Tensor, "heads"]:
    """Return each head's mean entropy over ln n, over the rows that see two keys or more."""
    counts = visible > 1
    share = torch.where(counts, spread / visible.clamp_min(2).log(), 0.0)
    heads: Tensor = share.sum(-1) / counts.sum(-1).clamp_min(1)
    return heads


def _by_lse(lse: Float[Tensor, "batch heads queries"], rows: int) -> _Search:
    """Return the rows of largest L in the sequence of largest L, and the largest L elsewhere."""
    per_sequence = lse.amax((1, 2)).topk(min(2, lse.shape[0]))
    sequence = per_sequence.indices[:1]
    level = lse.index_select(0, sequence)[0]
    top = level.topk(min(rows + 1, level.shape[1]), dim=-1)
    rest = [top.values[:, rows:].flatten(), per_sequence.values[1:]]
    return _Search(sequence, top.indices[:, :rows], _largest(torch.cat(rest)))


def _by_norm(call: AttentionCall, rows: int) -> _Search:
    """Return the rows of largest ‖q‖ of the first sequence, and the bound of Cauchy and Schwarz."""
    q = torch.linalg.vector_norm(call.q.float(), dim=-1)
    k = torch.linalg.vector_norm(call.k.float(), dim=-1).amax((0, 2)).repeat_interleave(call.group)
    rest = (q.amax((0, 2)) * k).amax() * call.scale
    if call.bias is not None:
        rest = rest + call.bias.amax()
    return _Search(_range(1, q.device), q[0].topk(rows, dim=-1).indices, rest)


def _largest(values: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Return the maximum, -inf of nothing."""
    return values.amax() if values.numel() else values.new_full((), -math.inf)


@lru_cache(maxsize=64)
def _range(n: int, device: torch.device) -> Int[Tensor, "n"]:
    """Return 0 to n - 1; made once, since these sizes recur at every step."""
    return torch.arange(n, device=device)


@lru_cache(maxsize=64)
def _entropy_rows(
    n_rows: int, n_keys: int, causal: bool, rows: int, device: torch.device
) -> tuple[Int[Tensor, "rows"], Float[Tensor, "rows"]]:
    """Return evenly spaced rows that see enough keys, and ln n of each."""
    first = MIN_VISIBLE_KEYS - 1 if causal else 0
    index = torch.linspace(first, n_rows - 1, min(rows, n_rows - first)).round().long()
    visible = (index + 1).clamp_max(n_keys) if causal else torch.full_like(index, n_keys)
    return index.to(device), visible.float().log().to(device)
