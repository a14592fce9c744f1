"""flex_attention: its operator returns the log-sum-exp anyway; its functions of indices act on rows, too."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.flex_attention import flex_attention as OPERATOR

from stabilitykit.observe.attention.seen import Seen
from stabilitykit.stats import MIN_VISIBLE_KEYS, AttentionCall

__all__ = ["OPERATOR", "flexed", "look"]


def flexed(args: tuple[Any, ...], output: Any) -> tuple[Any, ...]:
    """Return what is kept of a call of the operator: nothing is computed, since it may be compiled alone.

    Args:
        args: Arguments of the operator.
        output: What it returned.
    """
    q, k, _, score, block_mask, scale, options = args[:7]
    return q, k, score, block_mask[-1], scale, options.get("BACKEND"), output[1]


def look(kept: tuple[Any, ...]) -> Seen | None:
    """Return what is to be seen of a call, or None where the kernel gave no log-sum-exp.

    Args:
        kept: What ``flexed`` returned.
    """
    q, k, score, mask, scale, backend, lse = kept
    if not lse.numel() or k.shape[2] < MIN_VISIBLE_KEYS:
        return None
    # All kernels but one work with powers of two.
    level = lse.detach() if backend == "FLASH" else lse.detach() * math.log(2)
    call = AttentionCall(q.detach(), k.detach(), scale, False, level, modify=_modifier(score, mask))
    return Seen(call, complete=True, queries=q.shape[-2])


def _modifier(score: Callable[..., Tensor], mask: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def modify(s: Tensor, sequence: Tensor, rows: Tensor, hidden: float) -> Tensor:
        heads = torch.arange(s.shape[0], device=s.device)[:, None, None]
        keys = torch.arange(s.shape[2], device=s.device)
        where = (sequence, heads, rows[..., None], keys)
        return torch.where(mask(*where), score(s, *where), hidden)

    return modify
