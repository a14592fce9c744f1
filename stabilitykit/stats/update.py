"""Statistics of gradients and updates over lists of parameters, without a host read."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def norms(tensors: Sequence[Tensor]) -> Float[Tensor, "n"]:
    """Return the 2-norm of each tensor, accumulated and returned in float32 or wider."""
    return torch.stack(torch._foreach_norm(list(tensors), 2, dtype=_wide(tensors)))


def update_norms(before: Sequence[Tensor], after: Sequence[Tensor]) -> Float[Tensor, "n"]:
    """Return the 2-norm of each tensor's change; ``before`` is overwritten with it."""
    torch._foreach_sub_(list(before), list(after))
    return norms(before)


def scaled_gradient_norms(
    gradients: Sequence[Tensor], second_moments: Sequence[Tensor], eps: float
) -> Float[Tensor, "n"]:
    """Return the 2-norm of g / max(√v, ε) for each tensor.

    With the bias correction of v, which is one number per optimizer step, this is the root of
    Σ g²/max(v̂, ε²), the numerator of RMS_t (Wortsman 2304.13013 §3.2). It runs next to the optimizer, so
    ``eps`` is on the scale of √v, not of √v̂; the difference shows only where both are negligible.
    """
    scale = torch._foreach_sqrt(list(second_moments))
    torch._foreach_clamp_min_(scale, eps)
    return norms(torch._foreach_div(list(gradients), scale))


def _wide(tensors: Sequence[Tensor]) -> torch.dtype | None:
    """Return float32 where a norm in the tensors' own type would round or overflow."""
    return torch.float32 if any(t.dtype in (torch.float16, torch.bfloat16) for t in tensors) else None
