"""Exact norms of gradients, one a parameter, waiting on the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stabilitykit.observe.watched import Watched
from stabilitykit.stats import norms


@dataclass(frozen=True, slots=True)
class GradientNorms:
    """The 2-norm of each gradient that there was, before clipping; of a spread one, of the shard here."""

    watched: Watched
    """The parameters that had one."""
    values: Tensor

    @classmethod
    def joined(cls, parts: Sequence["GradientNorms"]) -> "GradientNorms":
        """Return the norms of several sets of parameters as one, in the order of all parameters."""
        if len(parts) == 1:
            return parts[0]
        watched = Watched.joined([part.watched for part in parts])
        values = torch.cat([part.values.to(parts[0].values) for part in parts])
        order = np.argsort(watched.places)
        return cls(watched.picked(order), values[torch.from_numpy(order).to(values.device)])


@torch.no_grad()
def read_gradient_norms(watched: Watched, scale: Tensor | None = None) -> GradientNorms | None:
    """Return the norms of the gradients there are, None where there is none.

    Args:
        watched: The parameters.
        scale: What the gradients are still multiplied with.

    Raises:
        NotImplementedError: Gradients are kept elsewhere.
    """
    found = [p for p in watched.parameters if p.grad is not None]
    if len(found) < len(watched.parameters) and any(map(_is_kept_elsewhere, watched.parameters)):
        raise NotImplementedError("gradients are added up in main_grad, not in grad")
    if not found:
        return None
    among = watched if len(found) == len(watched.parameters) else watched.among(found)
    values = norms([p.grad for p in found if p.grad is not None])
    return GradientNorms(among, values if scale is None else values / scale)


def _is_kept_elsewhere(parameter: nn.Parameter) -> bool:
    """Return whether a kernel adds up a parameter's gradient where autograd does not know of it."""
    return parameter.grad is None and getattr(parameter, "main_grad", None) is not None
