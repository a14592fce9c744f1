"""Walk the graph of a loss back from its softmaxes to what their logits were made of."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

Node = Any
"""A node of the autograd graph; its attributes depend on its kind."""
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """What a softmax of the loss was taken of."""

    node: Node
    output: int
    """Which output of the node it is."""
    dim: int
    """Over which dimension, from the end."""
    is_known: bool
    """Whether it is a softmax; else a function of somebody's own, which may be one."""

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return _shape(self.node, self.output)

    @property
    def classes(self) -> int:
        """How many logits compete."""
        return self.shape[self.dim]


@dataclass(frozen=True, slots=True)
class Step:
    """A node on the way back, whose output holds the logits."""

    node: Node
    output: int
    dim: int
    as_seen: bool
    """Whether only views, casts, choices of rows and shifts of whole rows lie between it and the softmax."""

    @property
    def kind(self) -> str:
        """Name of the node without the number of its overload."""
        return _kind(self.node)


def softmax_inputs(roots: Sequence[Node]) -> Iterator[Source]:
    """Yield what every logarithm of a softmax in a graph was taken of.

    Args:
        roots: The nodes that the backward pass began with.
    """
    for node in _all(roots):
        name = _kind(node)
        if name == "LogSoftmaxBackward":
            yield from _source(node, _dim(node._saved_dim))
        elif name == "LogsumexpBackward" and len(node._saved_dim) == 1:
            yield from _source(node, _dim(node._saved_dim[0]))
        elif name == "LogBackward":
            yield from _under_logarithm(node)
        elif isinstance(node, torch.autograd.function.BackwardCFunction):
            for below, output in node.next_functions:
                if below is not None and _shape(below, output)[-1:] > (1,):
                    yield Source(below, output, -1, is_known=False)


def trace(source: Source, routes: bool = False) -> tuple[list[Step], bool]:
    """Return the way back from a softmax, and whether it ends in a product with a parameter.

    Args:
        source: What the softmax was taken of.
        routes: Whether to go back behind softmax and sigmoid, too, as from the choice of a router.
    """
    back = {**_BACK, **_GATES} if routes else _BACK
    todo = deque([Step(source.node, source.output, source.dim, as_seen=True)])
    steps: list[Step] = []
    is_parametric = False
    seen: set[tuple[Node, int]] = set()
    while todo:
        step = todo.popleft()
        if (step.node, step.output) in seen:
            continue
        seen.add((step.node, step.output))
        name = _kind(step.node)
        if name in _PRODUCTS:
            if not _holds_classes(step, name):
                continue
            is_parametric = is_parametric or any(_is_parameter(n) for n, _ in step.node.next_functions)
        steps.append(step)
        if name in back:
            todo.extend(back[name](step, source.classes))
    return steps, is_parametric


def _all(roots: Sequence[Node]) -> Iterator[Node]:
    todo, seen = list(roots), set(roots)
    while todo:
        node = todo.pop()
        yield node
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                todo.append(below)


def _source(node: Node, dim: int) -> Iterator[Source]:
    below, output = node.next_functions[0]
    if below is not None:
        shape = _shape(below, output)
        dim = dim - len(shape) if dim >= 0 else dim
        if shape and shape[dim] > 1:
            yield Source(below, output, dim, is_known=True)


def _under_logarithm(node: Node) -> Iterator[Source]:
    """Yield the logits of a softmax, or of a sum of exponentials, that a logarithm is taken of."""
    todo, seen = [below for below, _ in node.next_functions if below is not None], set[Node]()
    while todo:
        below = todo.pop()
        if below in seen:
            continue
        seen.add(below)
        name = _kind(below)
        if name == "SoftmaxBackward":
            yield from _source(below, _dim(below._saved_dim))
        elif name == "SumBackward" and len(getattr(below, "_saved_dim", ())) == 1:
            exponential = below.next_functions[0][0]
            if exponential is not None and _kind(exponential) == "ExpBackward":
                yield from _source(exponential, _dim(below._saved_dim[0]))
        elif name in _CHOICES:
            todo += [each for each, _ in below.next_functions if each is not None]


def _holds_classes(step: Step, name: str) -> bool:
    """Return whether a product has its outputs, and not its rows, in the dimension of the classes."""
    shape = _shape(step.node, step.output)
    return step.dim == (1 - len(shape) if name == "ConvolutionBackward" else -1)


def _is_parameter(node: Node) -> bool:
    """Return whether a factor is a parameter but for its shape and type."""
    while node is not None:
        if "AccumulateGrad" in node.name():
            return True
        if _kind(node) not in _OF_WEIGHTS:
            return False
        node = node.next_functions[0][0]
    return False


def _kind(node: Node) -> str:
    """Return the name of a node without the number of its overload."""
    name: str = node.name()
    return name.rstrip("0123456789")


def _shape(node: Node, output: int) -> Shape:
    return tuple(node._input_metadata[output].shape)


def _dim(saved: int) -> int:
    """Return a dimension as it was given: negative ones are kept as very large numbers."""
    return saved - (1 << 64) if saved >= 1 << 63 else saved


def _edges(step: Step) -> Iterator[tuple[Node, int, Shape]]:
    for node, output in step.node.next_functions:
        if node is not None:
            yield node, output, _shape(node, output)


def _kept(step: Step, classes: int) -> Iterator[Step]:
    """Go back where the classes keep their place from the end."""
    for node, output, shape in _edges(step):
        if len(shape) >= -step.dim and shape[step.dim] == classes:
            yield replace(step, node=node, output=output)


def _viewed(step: Step, classes: int) -> Iterator[Step]:
    """Go back to the dimension of equal size in front of as many elements."""
    after = _trailing(_shape(step.node, step.output), step.dim)
    for node, output, shape in _edges(step):
        for dim in range(-len(shape), 0):
            if shape[dim] == classes and _trailing(shape, dim) == after:
                yield replace(step, node=node, output=output, dim=dim)


def _trailing(shape: Shape, dim: int) -> int:
    return int(torch.Size(shape[len(shape) + dim + 1 :]).numel())


def _transposed(step: Step, classes: int) -> Iterator[Step]:
    n = len(_shape(step.node, step.output))
    swapped = [_dim(getattr(step.node, f"_saved_dim{i}", i)) % n for i in range(2)]
    place = step.dim % n
    if place in swapped:
        place = swapped[1 - swapped.index(place)] if swapped[0] != swapped[1] else place
    return _kept(replace(step, dim=place - n), classes)


def _permuted(step: Step, classes: int) -> Iterator[Step]:
    n = len(_shape(step.node, step.output))
    return _kept(replace(step, dim=_dim(step.node._saved_dims[step.dim % n]) % n - n), classes)


def _selected(step: Step, classes: int) -> Iterator[Step]:
    """Go back to where there was one dimension more."""
    n = len(_shape(step.node, step.output)) + 1
    place = step.dim % (n - 1)
    place += place >= _dim(step.node._saved_dim) % n
    return _kept(replace(step, dim=place - n), classes)


def _stacked(step: Step, classes: int) -> Iterator[Step]:
    """Go back to where there was one dimension less."""
    n = len(_shape(step.node, step.output))
    place, new = step.dim % n, _dim(step.node._saved_dim) % n
    if place == new:
        return iter(())
    return _kept(replace(step, dim=place - (place > new) - (n - 1)), classes)


def _joined(step: Step, classes: int) -> Iterator[Step]:
    n = len(_shape(step.node, step.output))
    return iter(()) if _dim(step.node._saved_dim) % n == step.dim % n else _kept(step, classes)


def _changed(step: Step, classes: int) -> Iterator[Step]:
    return _kept(replace(step, as_seen=False), classes)


def _subtracted(step: Step, classes: int) -> Iterator[Step]:
    """Go back behind a difference: what a whole row is less, such as its maximum, changes no softmax."""
    operands = [shape for _, _, shape in _edges(step)]
    whole_row = len(operands) == 2 and len(operands[1]) >= -step.dim and operands[1][step.dim] == 1
    return _kept(step, classes) if whole_row else _changed(step, classes)


_PRODUCTS = frozenset(
    f"{name}Backward" for name in ("Mm", "Addmm", "Linear", "Bmm", "Baddbmm", "Convolution", "MkldnnLinear")
)
_VIEWS = ("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Flatten", "Unflatten")
_SAME = ("Clone", "ToCopy", "Alias", "Slice", "Split", "SplitWithSizes", "Index", "IndexSelect", "Expand")
_CHANGES = ("Mul", "Div", "Add", "Neg", "Tanh", "Clamp", "ClampMin", "ClampMax", "MaskedFill", "Where")
_BACK: dict[str, Callable[[Step, int], Iterator[Step]]] = {
    **{f"{name}Backward": _viewed for name in _VIEWS},
    **{f"{name}Backward": _kept for name in _SAME},
    **{f"{name}Backward": _changed for name in _CHANGES},
    "SubBackward": _subtracted,
    "TransposeBackward": _transposed,
    "TBackward": _transposed,
    "PermuteBackward": _permuted,
    "SelectBackward": _selected,
    "UnbindBackward": _selected,
    "StackBackward": _stacked,
    "CatBackward": _joined,
}
GATES_IN_GRAPH = frozenset({"SoftmaxBackward", "SigmoidBackward", "LogSoftmaxBackward"})
"""What makes chances or weights of scores."""
_GATES = dict.fromkeys((*GATES_IN_GRAPH, "SoftplusBackward", "ExpBackward"), _changed)
_OF_WEIGHTS = frozenset(
    f"{name}Backward" for name in ("T", "Transpose", "Permute", "Cat", "Expand", "ToCopy", "Clone", *_VIEWS)
)
_CHOICES = frozenset(
    f"{name}Backward"
    for name in (*_SAME, *_VIEWS, *_CHANGES, "Gather", "Select", "Transpose", "T", "Permute", "MaskedSelect")
)
