"""Rope's turn of pairs of features as a function with its own backward."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _Turn(torch.autograd.Function):
    """Turns pairs of features; the backward is the turn by the opposite angles.

    In place on the product with the cosines: torch's own derivative would write every half, every product and
    their joins to memory.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "*batch seq head_dim"],
        cos: Float[Tensor, "seq width"],
        sin: Float[Tensor, "seq pairs"],
        interleaved: bool,
        sign: int,
    ) -> Float[Tensor, "*batch seq head_dim"]:
        ctx.save_for_backward(cos, sin)
        ctx.interleaved, ctx.sign = interleaved, sign
        width = cos.shape[-1]
        if width == x.shape[-1]:
            turned = x * cos
        else:
            turned = x.clone()
            turned[..., :width].mul_(cos)
        one, other = _pairs(x, width, interleaved)
        turned_one, turned_other = _pairs(turned, width, interleaved)
        turned_one.addcmul_(other, sin, value=-sign)
        turned_other.addcmul_(one, sin, value=sign)
        return turned

    @staticmethod
    def backward(
        ctx: Any, dy: Float[Tensor, "*batch seq head_dim"]
    ) -> tuple[Float[Tensor, "*batch seq head_dim"], None, None, None, None]:
        cos, sin = ctx.saved_tensors
        return turned(dy, cos, sin, ctx.interleaved, -ctx.sign), None, None, None, None


def turned(
    x: Float[Tensor, "*batch seq head_dim"],
    cos: Float[Tensor, "seq width"],
    sin: Float[Tensor, "seq pairs"],
    interleaved: bool,
    sign: int = 1,
) -> Float[Tensor, "*batch seq head_dim"]:
    """Return ``x`` with the pairs in its leading features turned.

    Args:
        x: In the type of cosine and sine.
        cos: Cosine of each feature's angle; a pair's two are equal.
        sin: Sine of each pair's angle.
        interleaved: Whether neighbours are a pair, rather than i and i + width/2.
        sign: 1, or -1 to turn back.
    """
    result: Tensor = _Turn.apply(x, cos, sin, interleaved, sign)  # type: ignore[no-untyped-call]
    return result


def _pairs(
    x: Float[Tensor, "*batch seq head_dim"], width: int, interleaved: bool
) -> tuple[Float[Tensor, "*batch seq pairs"], Float[Tensor, "*batch seq pairs"]]:
    if interleaved:
        return x[..., 0:width:2], x[..., 1:width:2]
    return x[..., : width // 2], x[..., width // 2 : width]
