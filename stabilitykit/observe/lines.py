"""Which tensors of one forward pass came from which by sums alone: the residual streams in it."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from stabilitykit.observe.attention.eager import PRODUCTS

_SUMS = frozenset(("add", "add_", "sub", "sub_", "__radd__", "__iadd__"))
_SCALES = frozenset(("mul", "mul_", "div", "div_", "__rmul__", "true_divide"))
_KEEPS = frozenset(
    (
        "bfloat16",
        "clone",
        "contiguous",
        "detach",
        "dropout",
        "dropout_",
        "expand",
        "flatten",
        "float",
        "half",
        "movedim",
        "permute",
        "reshape",
        "squeeze",
        "swapaxes",
        "to",
        "transpose",
        "type",
        "type_as",
        "unflatten",
        "unsqueeze",
        "view",
        "view_as",
    )
)


class Lines:
    """Numbers tensors, and notes which are sums of which; keeps none of them alive."""

    def __init__(self) -> None:
        self._numbers: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._terms: dict[int, set[int]] = {}
        self._projections: set[int] = set()
        self._products: set[int] = set()
        self._count = 0

    def number(self, x: Tensor) -> int:
        """Return the number of a tensor: the same of the very same one, as long as it lives."""
        reference, number = self._numbers.get(id(x), (None, 0))
        if reference is None or reference() is not x:
            self._count = number = self._count + 1
            self._numbers[id(x)] = (weakref.ref(x), number)
        return number

    def note(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        """Note what a function of tensors has made."""
        if not isinstance(output, Tensor):
            return
        name = getattr(function, "__name__", "")
        given = [x for x in _flat((*args, *kwargs.values())) if isinstance(x, Tensor)]
        if name in _SUMS or name in _KEEPS or name in _SCALES:
            terms = [x for x in given if name in _SUMS or x.numel() == output.numel()]
            # A gate is no factor of a line.
            if name not in _SCALES or len(terms) == 1 or output.numel() == 1:
                self._terms.setdefault(self.number(output), set()).update(map(self.number, terms))
        elif name == "linear":
            self._projections.add(self.number(output))
        elif function in PRODUCTS:
            is_projection = any(x.dim() < 3 or _is_weight(x) for x in given[-2:])
            (self._projections if is_projection else self._products).add(self.number(output))

    def is_projected(self, x: Tensor) -> bool:
        """Return whether a tensor holds what a matrix of weights gave, and no product of activations."""
        found = self.terms(x)
        return not found.isdisjoint(self._projections) and found.isdisjoint(self._products)

    def terms(self, x: Tensor) -> frozenset[int]:
        """Return the numbers of the tensors that one is the sum of, each scaled; its own is among them."""
        waiting = [self.number(x)]
        found = set(waiting)
        while waiting:
            new = self._terms.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return frozenset(found)


def _is_weight(x: Tensor) -> bool:
    return isinstance(x, torch.nn.Parameter) or isinstance(x._base, torch.nn.Parameter)


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, list | tuple) else (value,)
