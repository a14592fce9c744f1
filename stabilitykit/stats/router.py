"""Statistics of the router of a mixture of experts."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class RouterSums(NamedTuple):
    """What adds up over tokens."""

    entropy: Float[Tensor, ""]
    """Entropies of the tokens' chances over the experts, in nats."""
    left: Float[Tensor, ""]
    """Tokens that no expert chose; 0 where tokens choose."""
    chosen: Float[Tensor, "experts"]
    """How often each expert was chosen."""


def router_sums(
    chances: Float[Tensor, "... experts"],
    indices: Int[Tensor, "..."],
    along: int,
    dim: int,
    shape: torch.Size,
) -> RouterSums:
    """Return the sums of one choice.

    Args:
        chances: What the experts have of each token, in any scale: they are divided by their sum.
        indices: What was chosen, of the shape of what it was chosen from but for ``along``.
        along: The dimension that was chosen along, from the end.
        dim: The dimension that holds the experts, from the end.
        shape: Of what it was chosen from.
    """
    p = chances.float()
    p = p / p.sum(-1, keepdim=True)
    entropy = torch.special.entr(p).sum()
    n_experts = shape[dim]
    if along == dim:
        flat = indices.flatten()
        chosen = torch.zeros(n_experts, device=p.device).index_add_(
            0, flat, torch.ones(1, device=p.device).expand(flat.shape[0])
        )
        return RouterSums(entropy, torch.zeros((), device=p.device), chosen)
    mask = torch.zeros(shape, device=p.device).scatter_(along, indices, 1.0).movedim(dim, -1)
    left = (mask.amax(-1) == 0).sum().float()
    return RouterSums(entropy, left, mask.flatten(0, -2).sum(0))
