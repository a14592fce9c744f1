"""FLOPs and bytes of one call of torch's operators, from the shapes of what goes in and comes out.

Products of matrices have torch's own formulas, those of its flop counter. It leaves out attention's fused
kernel on the CPU, which has the formula of its siblings here, and grouped products of experts. What a mask
hides counts as computed. Norms and softmax have the factors of the predictions. Whatever else is
floating-point arithmetic counts one an element of the result, or of its first argument where that is larger,
as in a sum. Copies and look-ups compute nothing.

Every tensor counts once in and once out, whatever stays in a cache; a look-up reads what it gives.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from stabilitykit.lab.cost.measured.attribution import computes

_aten = torch.ops.aten


def _grouped(a: Tensor, b: Tensor, *rest: Any, out_val: Any, **options: Any) -> int:
    """Return the FLOPs of products group by group: each row meets the matrix of its group alone."""
    rows = a.numel() // (a.shape[0] if a.dim() == 3 and b.dim() == 2 else 1)
    return int(2 * rows * b.shape[-1])


_PRODUCTS: dict[Any, Any] = {
    **flop_registry,
    _aten._grouped_mm: _grouped,
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[
        _aten._scaled_dot_product_flash_attention
    ],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _aten._scaled_dot_product_flash_attention_backward
    ],
}


class _Factor(NamedTuple):
    """FLOPs an element."""

    flops: int
    gain: int = 0
    """More, where there is a gain."""
    bias: int = 0
    normalises: bool = True


_LAYER, _LAYER_BACK = _Factor(5, 1, 1), _Factor(9, 4, 1)
_ROOT, _ROOT_BACK = _Factor(3, 1), _Factor(5, 4)
_SOFT, _SOFT_BACK = _Factor(5), _Factor(4)
_FACTORS = {
    "native_layer_norm": _LAYER,
    "native_layer_norm_backward": _LAYER_BACK,
    "native_group_norm": _LAYER,
    "native_group_norm_backward": _LAYER_BACK,
    "native_batch_norm": _LAYER,
    "native_batch_norm_backward": _LAYER_BACK,
    "cudnn_batch_norm": _LAYER,
    "cudnn_batch_norm_backward": _LAYER_BACK,
    "_fused_rms_norm": _ROOT,
    "_fused_rms_norm_backward": _ROOT_BACK,
    "_softmax": _SOFT,
    "_softmax_backward_data": _SOFT_BACK,
    "_log_softmax": _SOFT,
    "_log_softmax_backward_data": _SOFT_BACK,
    "native_dropout": _Factor(2, normalises=False),
    "lerp": _Factor(3, normalises=False),
    "addcmul": _Factor(3, normalises=False),
    "addcdiv": _Factor(3, normalises=False),
    "_fused_adamw": _Factor(14, normalises=False),
    "_fused_adam": _Factor(14, normalises=False),
    "_fused_sgd": _Factor(6, normalises=False),
}
_ONE = _Factor(1, normalises=False)

_LOOK_UPS = ("embedding", "gather", "index", "index_select", "take")
_COPIES = (
    *("_to_copy", "arange", "cat", "clone", "constant_pad_nd", "copy", "flip", "index_copy", "index_put"),
    *(
        "masked_fill",
        "repeat",
        "roll",
        "scatter",
        "select_backward",
        "slice_backward",
        "stack",
        "tril",
        "triu",
    ),
    *("where", "slice_scatter", "select_scatter", "as_strided_scatter", "unfold_backward"),
)
_OVERWRITING = ("bernoulli_", "copy_", "exponential_", "normal_", "random_", "uniform_")
"""What only writes the tensor that it is called on."""


class Done(NamedTuple):
    """What one call of an operator did."""

    flops: int
    read: int
    """Bytes."""
    written: int
    """Bytes."""
    is_product: bool
    """Whether it multiplied matrices."""
    normalises: bool
    """Whether it took statistics of rows."""
    tensors: tuple[Tensor, ...]
    """All that went in or came out."""


def done(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Done | None:
    """Return what a call did; None for a view, for an allocation, and for what is no operator of torch.

    Args:
        func: The overload that was called.
        args: As it was called.
        kwargs: As it was called.
        out: What it returned.
    """
    name = func._schema.name.partition("::")[2]
    if func.namespace in ("prim", "profiler") or func.is_view or not computes(name):
        return None
    given = {each.name: value for each, value in zip(func._schema.arguments, args, strict=False)} | {**kwargs}
    taken, results = [*_tensors((args, kwargs))], [*_tensors(out)]
    changed = [*_tensors([given.get(each) for each in _changed(func)])]
    written = _distinct([*results, *changed])
    first = [*_tensors(next(iter(given.values()), None))]
    read = taken[1:] if name in _OVERWRITING else taken
    moved = sum(map(_held, _distinct(read)))
    plain = name.removeprefix("_foreach_").removesuffix("_")
    if plain in _LOOK_UPS and first and results:
        moved += min(_held(results[0]) - _held(first[0]), 0)
    is_product = func._overloadpacket in _PRODUCTS
    factor = _FACTORS.get(plain, _ONE)
    if is_product:
        flops = int(_PRODUCTS[func._overloadpacket](*args, **kwargs, out_val=out))
    elif (
        plain in _LOOK_UPS
        or plain in _COPIES
        or not any(each.is_floating_point() for each in [*taken, *results])
    ):
        flops = 0
    else:
        flops = _flops(factor, given, first, results)
    everything = tuple(_distinct([*taken, *written]))
    return Done(flops, moved, sum(map(_held, written)), is_product, factor.normalises, everything)


def _flops(factor: _Factor, given: Mapping[str, Any], first: list[Tensor], results: list[Tensor]) -> int:
    each = factor.flops
    each += factor.gain * (given.get("weight") is not None) + factor.bias * (given.get("bias") is not None)
    # Several results are gradients of several arguments; several first arguments are all worked on.
    largest = max((result.numel() for result in results), default=0)
    return each * max(largest, sum(one.numel() for one in first))


def _changed(func: Any) -> list[str]:
    """Return the names of the arguments that an operator writes to."""
    return [
        each.name
        for each in func._schema.arguments
        if each.alias_info is not None and each.alias_info.is_write
    ]


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (each for each in tree_leaves(tree) if isinstance(each, Tensor))


def _distinct(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [*{id(each): each for each in tensors}.values()]


def _held(tensor: Tensor) -> int:
    """Return the bytes that a tensor has in memory: what is expanded is there once."""
    if tensor.layout != torch.strided:
        return tensor.numel() * tensor.itemsize
    own = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or not size)
    return prod(own) * tensor.itemsize
