"""Statistics of gradients and updates over many tensors in few operations, without a host read."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that is on this process: a DTensor's shard, any other tensor itself."""
    if type(tensor) in (Tensor, nn.Parameter) or not hasattr(tensor, "to_local"):
        return tensor
    shard: Tensor = tensor.to_local()
    return shard


def values(tensor: Tensor) -> Tensor:
    """Return the stored numbers of a tensor: of its shard, and of a sparse one those that are not zero."""
    tensor = local(tensor.detach())
    if tensor.layout is torch.strided:
        return tensor
    return (tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor).values()


def norms(tensors: Sequence[Tensor]) -> Float[Tensor, "n"]:
    """Return the 2-norm of each tensor, accumulated in float32 or wider; NaN and Inf show in it.

    Of a sharded tensor it is the norm of the shard here: squares add up over shards.

    Args:
        tensors: At least one; any shapes, floating types, layouts and devices. The result is on the first
            one's device.
    """
    stored = [t if type(t) is Tensor and t.layout is torch.strided else values(t) for t in tensors]
    types = {tensor.dtype for tensor in stored}
    wide = torch.float64 if torch.float64 in types else torch.float32
    found = torch._foreach_norm(stored, 2, dtype=None if types == {wide} else wide)
    if len({tensor.device for tensor in stored}) > 1:
        found = tuple(norm.to(stored[0].device) for norm in found)
    return torch.stack(list(found))


def scale_by_second_moment(
    gradient: Float[Tensor, "rows row"],
    second_moment: Float[Tensor, "rows row"],
    floor: Float[Tensor, "rows"],
) -> Float[Tensor, "rows row"]:
    """Return g/√max(v, floor), in place of v.

    With floor = ε²(1 − β2ᵗ), the square times 1 − β2ᵗ is g²/max(v̂, ε²), whose mean is the square of RMS_t
    (Wortsman 2304.13013 §3.2).

    Args:
        gradient: g, as the optimizer saw it.
        second_moment: v before its bias correction, after the step; overwritten.
        floor: What v is held above, above 0.
    """
    return torch.maximum(second_moment, floor[:, None], out=second_moment).rsqrt_().mul_(gradient)
