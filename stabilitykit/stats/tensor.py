"""Statistics of one tensor: partials on the device, numbers on the host."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from stabilitykit.tags import FLOAT16_MAX

Numbers = NDArray[np.float64]


def write_norm_and_range(
    x: Float[Tensor, "..."],
    norm: Float[Tensor, ""],
    minimum: Float[Tensor, ""],
    maximum: Float[Tensor, ""],
) -> None:
    """Write the mergeable partials of ``x`` into three float32 slots on its device.

    Two passes over memory that is still warm. Non-finite elements need no pass of their own: NaN and
    Inf pass through to the minimum and the maximum.

    Args:
        x: Any floating tensor with at least one element; detached by the caller.
        norm: Receives the 2-norm. Inf when the sum of squares overflows float32 (elements about 1e19).
        minimum: Receives the smallest element.
        maximum: Receives the largest element.
    """
    if x.dtype == torch.float32:
        torch.linalg.vector_norm(x, out=norm)
        torch.aminmax(x, out=(minimum, maximum))
    else:
        # out= wants the input's type for the range; a float16 norm would overflow at 65504.
        for slot, number in zip((norm, minimum, maximum), norm_and_range(x), strict=True):
            slot.copy_(number)


def norm_and_range(x: Float[Tensor, "..."]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the 2-norm in float32 or wider, the smallest and the largest element of ``x``."""
    norm = torch.linalg.vector_norm(x, dtype=torch.promote_types(x.dtype, torch.float32))
    low, high = torch.aminmax(x)
    return norm, low, high


def rms(norm: Numbers, count: Numbers) -> Numbers:
    """Return root mean squares from merged 2-norms and element counts."""
    return np.asarray(norm / np.sqrt(count), dtype=np.float64)


def max_abs(minimum: Numbers, maximum: Numbers) -> Numbers:
    """Return the largest absolute values; NaN where an element was NaN."""
    return np.maximum(np.abs(minimum), np.abs(maximum))


def fp16_headroom(largest: Numbers) -> Numbers:
    """Return how many times the largest of some absolute values fits into float16, as one number.

    Args:
        largest: Absolute values; of none there is no headroom.
    """
    return FLOAT16_MAX / largest.max(keepdims=True) if largest.size else largest


def nonfinite(minimum: Numbers, maximum: Numbers) -> Numbers:
    """Return 1.0 where an element was NaN or Inf, else 0.0."""
    return (~(np.isfinite(minimum) & np.isfinite(maximum))).astype(np.float64)
