"""Tell by the graph of a softmax's argument whether it was made of products of queries and keys."""

from typing import Any

from torch import Tensor

_LIMIT = 200
"""Nodes that are looked at: masks, biases and pieces put together are fewer."""

_PRODUCTS = frozenset({"BmmBackward", "MmBackward", "BaddbmmBackward", "LinearBackward", "AddmmBackward"})
_ENDS = frozenset({"ConvolutionBackward", "EmbeddingBackward", "NativeLayerNormBackward", "SoftmaxBackward"})


def is_of_activations(x: Tensor) -> bool | None:
    """Return whether a tensor is made of products of two activations; None where there is no graph.

    Products with parameters end the search, as those of routers, gates and heads do.

    Args:
        x: What a softmax is taken of.
    """
    if x.grad_fn is None:
        return None
    todo, seen = [x.grad_fn], set[Any]()
    while todo and len(seen) < _LIMIT:
        node: Any = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        kind = _kind(node)
        below = [each for each, _ in node.next_functions if each is not None]
        if kind in _PRODUCTS:
            # The summand of a sum and a product comes first.
            if len(below) > 1 and all(not _is_parameter(each) for each in below[-2:]):
                return True
        elif kind == "SumBackward" and below and _kind(below[0]) == "MulBackward":
            factors = [each for each, _ in below[0].next_functions if each is not None]
            if len(factors) == 2 and not any(_is_parameter(each) for each in factors):
                return True
        elif kind not in _ENDS:
            todo += below
    return False


def _kind(node: Any) -> str:
    name: str = node.name()
    return name.rstrip("0123456789")


def _is_parameter(node: Any) -> bool:
    """Return whether a factor is made of parameters alone."""
    todo, seen = [node], set[Any]()
    while todo and len(seen) < _LIMIT:
        each = todo.pop()
        if each in seen:
            continue
        seen.add(each)
        below = [next_ for next_, _ in each.next_functions if next_ is not None]
        if _kind(each) in _PRODUCTS or _kind(each) in _ENDS:
            return False
        todo += below
    return len(seen) < _LIMIT
