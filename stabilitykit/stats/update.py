"""Statistics of gradients and updates over groups of parameters, without a host read.

A group is joined into one flat tensor first: one operation on a block's worth of numbers is several times
cheaper than one on each of its parameters.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class FlatViews:
    """Flat views of tensors that stay where they are, such as weights; made anew when one has moved."""

    def __init__(self) -> None:
        self._addresses: list[int] = []
        self._views: list[Tensor] = []

    def of(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return a flat view of each tensor (a copy of one that is not contiguous)."""
        addresses = [t.data_ptr() for t in tensors]
        if addresses != self._addresses or not all(t.is_contiguous() for t in tensors):
            self._addresses, self._views = addresses, flat(tensors)
        return self._views


def flat(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return a flat view of each tensor, or a flat copy where there is no view."""
    return [t.detach().reshape(-1) for t in tensors]


def joined(tensors: Sequence[Tensor], out: Float[Tensor, "room"]) -> Float[Tensor, "n"]:
    """Return all elements of some flat tensors as one copy.

    Args:
        tensors: One-dimensional, of any types.
        out: Where the copy goes, at least as long as it; float32 or wider, so that half precision is
            accumulated wide. Memory that is used again is several times faster than new memory.
    """
    room = out[: sum(t.numel() for t in tensors)]
    torch.cat(list(tensors), out=room)
    return room


def norm(flat: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Return the 2-norm."""
    result: Tensor = torch.linalg.vector_norm(flat)
    return result


def scaled_gradient_square(
    gradient: Float[Tensor, "n"], second_moment: Float[Tensor, "n"], eps: float
) -> Float[Tensor, ""]:
    """Return Σ g²/max(v, ε²); the second argument is overwritten.

    Times the bias correction of v, which is one number per optimizer step, and over n, this is the square
    of RMS_t (Wortsman 2304.13013 §3.2). It runs next to the optimizer, so ``eps`` is on the scale of √v, not
    of √v̂; the difference shows only where both are negligible. A dot product is several times cheaper than
    a root and a norm.
    """
    result: Tensor = torch.dot(
        gradient, torch.div(gradient, second_moment.clamp_min_(eps**2), out=second_moment)
    )
    return result
