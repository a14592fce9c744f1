"""Statistics of the output logits."""

import torch
from jaxtyping import Float
from torch import Tensor


def mean_log_z(logits: Float[Tensor, "..."], dim: int = -1, rows: int = 64) -> Float[Tensor, ""]:
    """Return the mean of ln Σ_v exp z_v over evenly spaced tokens.

    Args:
        logits: Output logits of any shape.
        dim: The dimension that holds the vocabulary, from the end.
        rows: How many tokens are looked at, at most.
    """
    if dim == -1:
        flat = logits.flatten(0, -2)
        stride = max(1, flat.shape[0] // rows)
        return torch.logsumexp(flat[::stride][:rows].float(), dim=-1).mean()
    # Such as of every pixel: rows are chosen before they are copied.
    last = logits.movedim(dim, -1)
    n = last[..., 0].numel()
    places = torch.arange(0, n, max(1, n // rows), device=logits.device)[:rows]
    chosen = last[torch.unravel_index(places, last.shape[:-1])]
    return torch.logsumexp(chosen.float(), dim=-1).mean()
