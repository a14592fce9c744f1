"""Attention within windows, block by block: O(T·w) instead of a masked O(T²)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from stabilitykit.lab.model.scores import fused, takes_fused
from stabilitykit.lab.model.sections import AttentionConfig, LayerKind

_SMALLEST = 16
"""Shortest window that is worth a block of its own."""
_BANDED_LENGTH, _BANDED_BLOCKS = 256, 4
"""Shortest sequence, in tokens and in windows, at which a band is faster than a mask."""


def by_blocks(section: AttentionConfig, kind: LayerKind, length: int) -> bool:
    """Return whether a layer without a bias on its logits runs block by block.

    Args:
        section: How attention is computed.
        kind: The layer's kind.
        length: Tokens.
    """
    window = kind.window
    if window is None or window < _SMALLEST or length <= window or length % window:
        return False
    wide = length >= max(_BANDED_LENGTH, _BANDED_BLOCKS * window)
    return takes_fused(section) and (kind.span == "chunked" or wide)


def band(length: int, window: int, device: torch.device) -> Bool[Tensor, "blocks 1 window keys"]:
    """Return which keys of its own block and the one before each query of a block sees.

    Args:
        length: Tokens, a multiple of ``window``.
        window: Keys that a query sees, itself included.
        device: Where to.
    """
    query = torch.arange(window, device=device)[:, None]
    key = torch.arange(-window, window, device=device)[None, :]
    seen = ((key <= query) & (key > query - window)).repeat(length // window, 1, 1, 1)
    seen[0] &= key >= 0
    return seen


def windowed(
    q: Float[Tensor, "batch heads seq head_dim"],
    k: Float[Tensor, "batch kv_heads seq head_dim"],
    v: Float[Tensor, "batch kv_heads seq head_dim"],
    window: int,
    seen: Bool[Tensor, "blocks 1 window keys"] | None,
    scale: float,
    dropout: float,
) -> Float[Tensor, "batch heads seq head_dim"]:
    """Return what each query gathers, through torch's fused kernel with blocks as sequences of a batch.

    Args:
        q: Queries.
        k: Keys; each head serves as many neighbouring heads of queries as there are to one.
        v: Values.
        window: Tokens of a block, a divisor of the sequence's length.
        seen: Which keys of the block before and its own a block's queries see; None for its own alone.
        scale: Factor on q·k.
        dropout: Share of weights set to zero.
    """
    queries, keys, values = (_blocks(each, window) for each in (q, k, v))
    if seen is not None:
        keys, values = (torch.cat((_before(each), each), 3) for each in (keys, values))
        seen = seen.repeat(len(q), 1, 1, 1)
    gathered = fused(queries.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1), seen, scale, dropout)
    return gathered.view(queries.shape).transpose(1, 2).flatten(2, 3)


def _blocks(
    x: Float[Tensor, "batch heads seq head_dim"], window: int
) -> Float[Tensor, "batch blocks heads window head_dim"]:
    batch, heads, _, width = x.shape
    return x.reshape(batch, heads, -1, window, width).transpose(1, 2)


def _before(
    x: Float[Tensor, "batch blocks heads window head_dim"],
) -> Float[Tensor, "batch blocks heads window head_dim"]:
    """Return the block before each, zeros before the first."""
    return F.pad(x[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
