"""Statistics of the output logits."""

import torch
from jaxtyping import Float
from torch import Tensor


def mean_log_z(logits: Float[Tensor, "... vocab"], rows: int = 64) -> Float[Tensor, ""]:
    """Return the mean of ln Σ_v exp z_v over evenly spaced tokens.

    Args:
        logits: Output logits of any leading shape.
        rows: How many tokens are looked at, at most.
    """
    flat = logits.flatten(0, -2)
    stride = max(1, flat.shape[0] // rows)
    return torch.logsumexp(flat[::stride][:rows].float(), dim=-1).mean()
