"""Exact norms of gradients, one a parameter, waiting on the device."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stabilitykit.observe.watched import Watched
from stabilitykit.stats import norms


@dataclass(frozen=True, slots=True)
class GradientNorms:
    """The 2-norm of each gradient that there was, before clipping; of a spread one, of the shard here."""

    watched: Watched
    """The parameters that had one."""
    values: Tensor


@torch.no_grad()
def read_gradient_norms(watched: Watched, scale: Tensor | None = None) -> GradientNorms | None:
    """Return the norms of the gradients there are, None where there is none.

    Args:
        watched: The parameters.
        scale: What the gradients are still multiplied with.
    """
    found = [p for p in watched.parameters if p.grad is not None]
    if not found:
        return None
    among = watched if len(found) == len(watched.parameters) else watched.among(found)
    values = norms([p.grad for p in found if p.grad is not None])
    return GradientNorms(among, values if scale is None else values / scale)


def loss_scale(scaler: object) -> Tensor | None:
    """Return a copy of a loss scaler's factor on its device; None where there is none yet."""
    # get_scale() would read the device.
    scale = getattr(scaler, "_scale", None)
    return scale.detach().clone() if isinstance(scale, Tensor) else None
