"""Attention written out: a softmax over products of queries and keys, whose logits are in memory."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stabilitykit.observe.attention.provenance import is_of_activations
from stabilitykit.observe.attention.seen import Seen
from stabilitykit.stats import MIN_VISIBLE_KEYS, LogitRows, sample_logits, sample_pieces

SOFTMAXES: tuple[Callable[..., Any], ...] = (
    F.softmax,
    torch.softmax,
    Tensor.softmax,
    torch.special.softmax,
    F.log_softmax,
    torch.log_softmax,
    Tensor.log_softmax,
    torch.special.log_softmax,
)
PRODUCTS: tuple[Callable[..., Any], ...] = (
    torch.matmul,
    Tensor.matmul,
    torch.bmm,
    Tensor.bmm,
    torch.baddbmm,
    Tensor.baddbmm,
    torch.einsum,
)
PEAKS: tuple[Callable[..., Any], ...] = (torch.max, Tensor.max, torch.amax, Tensor.amax)
DIFFERENCES: tuple[Callable[..., Any], ...] = (torch.sub, Tensor.sub, Tensor.sub_)


class WrittenOut:
    """Tells the softmax of attention from others within one forward, by where its logits come from.

    It is attention if it goes over the last of three or more dimensions and there was, earlier in the same
    forward, a product of two tensors of three or more dimensions each with these last two sizes, or with
    one key less (a sink stands beside the keys). Routers, gates and heads multiply by parameters: a matrix,
    or a parameter of more dimensions as it is. Of any other softmax its graph tells whether products of
    activations were put together for it, as those of windows and blocks are; where there is no graph either,
    it may be attention, and then the largest logit read of the others is no more than that.
    """

    def __init__(self) -> None:
        self._sizes: set[tuple[int, int]] = set()
        self._peak: Tensor | None = None
        self._shifted: Tensor | None = None
        self._heads: int | None = None

    def product(self, args: tuple[Any, ...], output: Any) -> None:
        """Note a product."""
        operands = [x for arg in args for x in (arg if isinstance(arg, list | tuple) else (arg,))]
        factors = [x for x in operands if isinstance(x, Tensor)][-2:]
        activations = all(x.dim() >= 3 and not isinstance(x, torch.nn.Parameter) for x in factors)
        if len(factors) == 2 and activations and output.dim() >= 3 and _has_rows(args):
            self._sizes.add(output.shape[-2:])

    def peak(self, output: Any) -> None:
        """Note each row's maximum, which some subtract from the logits before the softmax."""
        found = output if isinstance(output, Tensor) else output[0]
        self._peak = found if found.dim() == 0 or found.shape[-1] == 1 else None

    def difference(self, args: tuple[Any, ...], output: Tensor) -> None:
        """Note logits less their row's maximum."""
        if self._peak is not None and len(args) > 1 and _is_same(args[1], self._peak):
            self._shifted = output

    def softmax(self, x: Tensor, dim: int | None, heads: int | None = None) -> Seen | None:
        """Return what is to be seen of a softmax, or None where it is no attention.

        Args:
            x: What it is taken of.
            dim: Over which dimension.
            heads: How many heads lie in the first of three dimensions; None where that is not known.
        """
        shifted, self._shifted = self._shifted, None
        if type(x) is not Tensor or x.dim() < 3 or dim is None or not x.numel() or not x.is_floating_point():
            return None
        dim = dim % x.dim() - x.dim()
        if x.shape[dim] < MIN_VISIBLE_KEYS:
            return None
        sizes = (x.shape[-2], x.shape[-1])
        if dim == -1 and (heads is not None or {sizes, (sizes[0], sizes[1] - 1)} & self._sizes):
            self._heads = x.shape[-3] if x.dim() > 3 else None
            found = sample_logits(_four_dimensional(x.detach(), heads))
            queries = sizes[0]
        else:
            is_attention = None if torch.compiler.is_compiling() else is_of_activations(x)
            if is_attention is False:
                return None
            pieces = x.detach().movedim(dim, -1)
            if is_attention is None:
                largest = LogitRows(pieces, pieces.amax().float())
                return Seen(largest, complete=False, is_doubtful=True)
            place = _place_of_heads(pieces, self._heads)
            found = sample_pieces(pieces, place)
            queries = pieces[0, ..., 0].numel() // (pieces.shape[place] if place else 1)
        if shifted is x and self._peak is not None:
            found = LogitRows(found.logits, self._peak.detach().amax().float())
        return Seen(found, complete=True, queries=queries)


def softmax_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, int | None]:
    """Return the tensor and the dimension of any softmax's arguments."""
    x = args[0] if args else kwargs["input"]
    return x, args[1] if len(args) > 1 else kwargs.get("dim")


def _four_dimensional(x: Tensor, heads: int | None) -> Tensor:
    """Return logits as batch × heads × rows × keys; an unknown first of three dimensions is heads."""
    if x.dim() == 3:
        return x[None] if heads is None else x.view(-1, heads, *x.shape[1:])
    return x.flatten(0, -4)


def _has_rows(args: tuple[Any, ...]) -> bool:
    """Return whether a product has rows before the keys: an einsum may have heads there, of both factors."""
    if not args or not isinstance(args[0], str):
        return True
    given, _, found = args[0].replace(" ", "").partition("->")
    return len(found) < 2 or not all(found[-2] in factor for factor in given.split(","))


def _place_of_heads(x: Tensor, heads: int | None) -> int:
    """Return which dimension of logits in pieces holds the heads; 0 for none.

    It is the first that has as many as another call had, or else the smallest between sequences and keys:
    there are fewer heads than rows or pieces. In three dimensions sequences and heads are one.
    """
    inner = range(1, x.dim() - 1)
    if len(inner) < 2:
        return 0
    return next((i for i in inner if x.shape[i] == heads), min(inner, key=lambda i: x.shape[i]))


def _is_same(a: Any, b: Tensor) -> bool:
    """Return whether two tensors are one, be it detached."""
    if a is b:
        return True
    same_shape = isinstance(a, Tensor) and a.shape == b.shape and not torch.compiler.is_compiling()
    return same_shape and a.data_ptr() == b.data_ptr()
