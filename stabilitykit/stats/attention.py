"""Attention logits and entropy on a few exact rows, beside a kernel and without the T×T matrix.

Notation: s_ij = scale · q_i · k_j plus any bias, as the softmax sees it, for the keys j that row i sees,
n_i of them; L_i = ln Σ_j exp s_ij. Calls of one shape are read together: the price is in the number of
operations, not in their size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

MIN_VISIBLE_KEYS = 8
"""Rows that see fewer keys say little: their maximum ln n is too small to divide by."""

ROWS = 16
"""Rows a head searched for the largest logit, and rows a head sampled for the entropy."""

_GAP = 5e3
"""A key this far below its row's largest logit is hidden: by -inf, the smallest float, or -10,000."""

_HIDDEN = -1e30
"""Logit of a hidden key. It is finite, since 0 · -inf is no number; the exponential of both is 0."""


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One call of an attention kernel, after position embedding and QK-norm."""

    q: Float[Tensor, "batch heads queries head_dim"]
    k: Float[Tensor, "batch kv_heads keys head_dim"]
    scale: float
    causal: bool
    """Top-left aligned: row i sees keys 0 to i."""
    level: Float[Tensor, "batch heads queries"]
    """An upper bound of each row's logits: L from the kernel, or ``norm_level``."""
    bias: Float[Tensor, "batch heads queries keys"] | None = None
    """What is added to the logits, -inf where a key is hidden; an expanded view is enough."""
    modify: Callable[[Tensor, Tensor, Tensor, float], Tensor] | None = None
    """From scaled logits (heads × rows × keys), the sequence, the rows and what hides a key, to logits."""
    elsewhere: Float[Tensor, "1"] | None = None
    """An upper bound of the logits of sequences that were left out."""


class LogitRows(NamedTuple):
    """What is left of one call whose logits were in memory."""

    logits: Float[Tensor, "heads rows keys"]
    """Rows of the sequence that holds the largest logit."""
    largest: Float[Tensor, ""]
    """The largest logit of the call."""


class AttentionReading(NamedTuple):
    """What a few rows of some calls tell."""

    logit_max: Float[Tensor, "calls"]
    """Largest logit on the rows searched."""
    logit_bound: Float[Tensor, "calls"]
    """Upper bound of every logit of the call; where it equals ``logit_max``, that is exact."""
    entropy: Float[Tensor, "calls heads"]
    """Each head's mean entropy over ln n, in [0, 1]."""


def norm_level(
    q: Float[Tensor, "batch heads queries head_dim"],
    k: Float[Tensor, "batch kv_heads keys head_dim"],
    scale: float,
    bias: Float[Tensor, "..."] | None = None,
) -> Float[Tensor, "batch heads queries"]:
    """Return scale · ‖q_i‖ · max_j ‖k_j‖ plus the largest bias: no logit of row i is larger.

    Args:
        q: Queries.
        k: Keys; their heads divide the queries' heads.
        scale: Factor on q·k, at least 0.
        bias: What is added to the logits.
    """
    rows = torch.linalg.vector_norm(q, dim=-1, dtype=torch.float32)
    keys = torch.linalg.vector_norm(k, dim=-1, dtype=torch.float32).amax(-1, keepdim=True) * scale
    group = q.shape[1] // k.shape[1]
    level: Tensor = rows * (keys.repeat_interleave(group, dim=1) if group > 1 else keys)
    if bias is not None:
        level = level + bias.amax()
    return level


def sample_logits(x: Float[Tensor, "batch heads queries keys"], rows: int = ROWS) -> LogitRows:
    """Return what is kept of logits in memory: their maximum, and evenly spaced rows of one sequence.

    Args:
        x: Logits as the softmax sees them.
        rows: Rows a head.
    """
    largest, sequence = x.amax((1, 2, 3)).max(0, keepdim=True)
    index = _even_rows(x.shape[2], False, rows, x.device)
    # Indices around a slice: their common dimension comes first.
    sampled = x[sequence, :, index].transpose(0, 1).float().clamp_min_(_HIDDEN)
    return LogitRows(sampled, largest[0].float())


def sample_pieces(x: Float[Tensor, "batch *pieces keys"], heads: int, rows: int = ROWS) -> LogitRows:
    """Return the same of logits that lie in windows, blocks or bands.

    Args:
        x: Logits as the softmax sees them; all dimensions but heads and keys are rows.
        heads: Which dimension holds the heads; 0 where each of the first is a sequence's head or one alone.
        rows: Rows a head.
    """
    if heads == 0:
        return sample_logits(x.flatten(1, -2)[None], rows)
    x = x.movedim(heads, 1)
    largest, sequence = x.amax(tuple(range(1, x.dim()))).max(0, keepdim=True)
    shape = x.shape[2:-1]
    index = _even_rows(math.prod(shape), False, rows, x.device)
    places: tuple[Any, ...] = torch.unravel_index(index, shape)
    sampled = x.index_select(0, sequence)[0][(slice(None), *places)].float().clamp_min_(_HIDDEN)
    return LogitRows(sampled, largest[0].float())


def read_logits(calls: Sequence[LogitRows]) -> AttentionReading:
    """Return the readings of calls whose logits were in memory; the maximum is exact.

    Args:
        calls: At least one, all of one shape.
    """
    largest = torch.stack([call.largest for call in calls])
    return AttentionReading(largest, largest, _masked_entropy(torch.stack([call.logits for call in calls])))


def read_attention(calls: Sequence[AttentionCall], rows: int = ROWS) -> AttentionReading:
    """Return the largest logit, its upper bound and the entropy of some calls, from a few rows of each.

    **Logits.** Since max_j s_ij ≤ L_i, only rows with a large L can hold the maximum. In the sequence with
    the largest L, each head's ``rows`` rows of largest L are searched; the largest L of any row left out
    bounds the rest, so the found value is exact as soon as it reaches the bound. The same holds with any
    other upper bound in the place of L.

    **Entropy.** H_i = −Σ_j p_ij ln p_ij with p = softmax(s), over ln n_i, on evenly spaced rows of the same
    sequence that see 8 keys or more (under a narrower window: as many as the widest row). The rows depend on
    shapes and values alone: nothing is drawn from the random state.

    Args:
        calls: At least one; all of one shape, type, scale and kind of mask. 8 keys at least.
        rows: Rows searched per head, and rows sampled per head.
    """
    first = calls[0]
    n_rows, device = first.q.shape[2], first.q.device
    rows = min(rows, n_rows)
    level, sequence, rest = _searched([call.level for call in calls])
    top = level.topk(min(rows + 1, n_rows), dim=-1)
    even = _even_rows(n_rows, first.causal, rows, device)
    index = torch.cat([top.indices[..., :rows], even.expand(*level.shape[:2], -1)], dim=-1)
    s = _logits(calls, sequence, index)
    found = s[:, :, :rows].amax((1, 2, 3))
    others = [found, *rest, *_elsewhere(calls)]
    if n_rows > rows:
        others.append(top.values[..., rows].amax(-1))
    sampled = s[:, :, rows:]
    if first.bias is None and first.modify is None:
        n_keys = s.shape[-1]
        most = (even + 1).clamp_max(n_keys).log() if first.causal else math.log(n_keys)
        heads = (_spread(sampled, sampled.amax(-1)) / most).mean(-1)
    else:
        heads = _masked_entropy(sampled)
    return AttentionReading(found, torch.stack(others).amax(0), heads)


def _searched(
    levels: list[Float[Tensor, "batch heads queries"]],
) -> tuple[
    Float[Tensor, "calls heads queries"], Sequence[Int[Tensor, "1"]] | None, list[Float[Tensor, "calls"]]
]:
    """Return the levels of each call's sequence of largest level, which it is, and the largest elsewhere."""
    level = torch.stack(levels)
    if level.shape[1] == 1:
        return level[:, 0].float(), None, []
    best = level.amax((2, 3)).topk(2)
    sequence = best.indices[:, 0]
    chosen = level[torch.arange(len(levels), device=level.device), sequence]
    return chosen.float(), torch.split(sequence, 1), [best.values[:, 1].float()]


def _elsewhere(calls: Sequence[AttentionCall]) -> list[Float[Tensor, "calls"]]:
    bounds = [call.elsewhere for call in calls if call.elsewhere is not None]
    return [torch.cat(bounds)] if bounds else []


def _logits(
    calls: Sequence[AttentionCall],
    sequence: Sequence[Int[Tensor, "1"]] | None,
    index: Int[Tensor, "calls heads rows"],
) -> Float[Tensor, "calls heads rows keys"]:
    """Return the exact logits of some rows of one sequence a call; hidden keys have a very low one."""
    n, n_heads, rows = index.shape
    first = calls[0]
    heads = torch.arange(n_heads, device=index.device)[:, None]
    where = [(0 if sequence is None else sequence[i], heads, each) for i, each in enumerate(index.unbind())]
    q = torch.stack([call.q[at] for call, at in zip(calls, where, strict=True)]).float()
    if sequence is None:
        k = torch.cat([call.k for call in calls]).float()
    else:
        k = torch.cat(
            [call.k.index_select(0, each) for call, each in zip(calls, sequence, strict=True)]
        ).float()
    # Query heads that share a key head stand side by side as further rows.
    s = torch.matmul(q.view(n, k.shape[1], -1, q.shape[-1]), k.mT).mul_(first.scale)
    s = s.view(n, n_heads, rows, -1)
    if first.bias is not None:
        bias = [call.bias[at] for call, at in zip(calls, where, strict=True) if call.bias is not None]
        s.add_(torch.stack(bias)).clamp_min_(_HIDDEN)
    if first.modify is not None:
        s = torch.stack([_modified(call, *each) for call, *each in zip(calls, s, where, strict=True)])
    if first.causal:
        keys = torch.arange(s.shape[-1], device=s.device, dtype=s.dtype)
        # Four times as fast as comparing and filling.
        s.addcmul_((keys - index[..., None].to(s.dtype)).clamp_(0, 1), s.new_full((), _HIDDEN))
    return s


def _modified(
    call: AttentionCall, s: Float[Tensor, "heads rows keys"], where: tuple[Any, ...]
) -> Float[Tensor, "heads rows keys"]:
    sequence, _, rows = where
    if call.modify is None:
        return s
    return call.modify(s, torch.as_tensor(sequence, device=s.device), rows, _HIDDEN).clamp_min(_HIDDEN)


def _masked_entropy(s: Float[Tensor, "calls heads rows keys"]) -> Float[Tensor, "calls heads"]:
    """Return each head's mean entropy over ln n, over the rows that see enough keys, under any mask."""
    top = s.amax(-1)
    visible = (s > (top - _GAP).clamp_min(_HIDDEN / 2)[..., None]).sum(-1)
    counts = visible >= visible.amax(-1, keepdim=True).clamp(1, MIN_VISIBLE_KEYS)
    share = torch.where(counts, _spread(s, top) / visible.clamp_min(2).log(), 0.0)
    heads: Tensor = share.sum(-1) / counts.sum(-1).clamp_min(1)
    return heads


def _spread(
    s: Float[Tensor, "calls heads rows keys"], top: Float[Tensor, "calls heads rows"]
) -> Float[Tensor, "calls heads rows"]:
    """Return H = m − ln max_j p_j − Σ_j p_j s_j in nats, where m is the largest logit."""
    p = s.softmax(-1)
    spread: Tensor = (top - torch.linalg.vecdot(p, s) - p.amax(-1).log()).clamp_min(0.0)
    return spread


def _even_rows(n_rows: int, causal: bool, rows: int, device: torch.device) -> Int[Tensor, "rows"]:
    """Return evenly spaced rows up to the last, from the first that sees 8 keys if there are rows enough.

    Masks are not asked: where the first rows see all keys, leaving them out does no harm.
    """
    first = MIN_VISIBLE_KEYS - 1
    if not causal and n_rows < rows + first:
        first = 0
    return torch.linspace(first, n_rows - 1, min(rows, n_rows - first), device=device).round().long()
