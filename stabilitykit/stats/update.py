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


def as_real(tensor: Tensor) -> Tensor:
    """Return a tensor itself, a complex one as its real and imaginary parts in a last dimension of two."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def values(tensor: Tensor) -> Tensor:
    """Return the stored numbers of a tensor: of its shard, and of a sparse one those that are not zero.

    Complex numbers are returned as two real ones each.
    """
    tensor = local(tensor.detach())
    if tensor.layout is not torch.strided:
        tensor = (tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor).values()
    return as_real(tensor)


def norms(tensors: Sequence[Tensor]) -> Float[Tensor, "n"]:
    """Return the 2-norm of each tensor, accumulated in float32 or wider; NaN and Inf show in it.

    Of a sharded tensor it is the norm of the shard here: squares add up over shards.

    Args:
        tensors: At least one; any shapes, floating types, layouts and devices. The result is on the first
            one's device.
    """
    stored = [t if type(t) is Tensor and t.layout is torch.strided else values(t) for t in tensors]
    types = {tensor.dtype for tensor in stored}
    if any(kind.is_complex or kind.itemsize < 2 for kind in types):
        stored = [_plain(tensor) for tensor in stored]
        types = {tensor.dtype for tensor in stored}
    wide = torch.float64 if torch.float64 in types else torch.float32
    found = torch._foreach_norm(stored, 2, dtype=None if types == {wide} else wide)
    if len({tensor.device for tensor in stored}) > 1:
        found = tuple(norm.to(stored[0].device) for norm in found)
    return torch.stack(list(found))


def _plain(tensor: Tensor) -> Tensor:
    """Return a tensor of a type that can be summed: real, and of eight bits in float32."""
    tensor = as_real(tensor)
    return tensor.float() if tensor.dtype.itemsize < 2 else tensor


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
