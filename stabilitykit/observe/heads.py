"""Which module's output the loss sees as logits over a vocabulary or classes.

A head is told by what becomes of its output. When the first backward pass begins to reach the modules, its
graph is walked from the loss: down from every logarithm of a softmax, through views, casts, shifts and caps,
to the product with a parameter whose columns are the classes. Modules are known again by a mark that was left
on the node of their output; nothing is kept alive, and after the first step nothing of it remains.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import graph

from stabilitykit.observe.call import Call
from stabilitykit.observe.graph_walk import Node, Step, softmax_inputs, trace
from stabilitykit.observe.kinds import is_linear

_MARK = "stabilitykit.call"
"""Under which a call's number stands in the metadata of its output's node."""


@dataclass(frozen=True, slots=True)
class Head:
    """A module whose output holds logits."""

    call: int
    """Number of the module's call."""
    dim: int
    """The dimension of its output that holds the classes, from the end."""
    classes: int
    as_seen: bool
    """Whether the softmax sees them but for shape and type as they are; else scaled, capped or masked."""
    known_loss: bool
    """Whether the loss is known to be a softmax's; else it is a function that does not tell."""


class HeadFinder:
    """Marks what modules return, and looks at the loss when the backward pass comes by."""

    def __init__(self) -> None:
        self.found: list[Head] = []
        self.has_seen_loss = False
        """Whether the graph of some loss was walked."""
        self.hidden: set[int] = set()
        """Calls that no graph holds, such as those in a reentrant checkpoint."""
        self._walked = -1
        self._linear: dict[int, nn.Module] = {}

    def mark(self, call: Call, output: Tensor) -> None:
        """Leave a mark on a call's output, and be told when a backward pass reaches it.

        Args:
            call: The call.
            output: The first tensor that it returned.
        """
        node: Node = output.grad_fn
        if node is None:
            self.hidden.add(call.number)
            return
        linear = is_linear(call.module)
        node.metadata.setdefault(_MARK, []).append(call.number)
        if linear:
            self._linear[call.number] = call.module
        if linear or call.parent is None:
            node.register_prehook(self._on_backward)

    def _on_backward(self, gradients: Any) -> None:
        # Nothing in a monitor may end a training run: without the graph no head is known.
        with suppress(Exception):
            task = torch._C._current_graph_task_id()
            if task == self._walked:
                return
            self._walked = task
            roots = _roots()
            if roots:
                self.found += self._heads(roots)
                self.has_seen_loss = True

    def _heads(self, roots: Sequence[Node]) -> Iterator[Head]:
        for source in softmax_inputs(roots):
            steps, is_parametric = trace(source)
            marked = [
                (number, step)
                for step in steps
                for number in step.node.metadata.get(_MARK, ())
                if is_parametric or self._is_classes(number, step)
            ]
            for number, step in marked:
                yield Head(number, step.dim, source.classes, step.as_seen, source.is_known)

    def _is_classes(self, number: int, step: Step) -> bool:
        """Return whether a step lies where a matrix has its outputs."""
        module = self._linear.get(number)
        if module is None:
            return False
        spatial = len(getattr(module, "kernel_size", ()))
        return step.dim == (-1 - spatial if spatial else -1)


def _roots() -> list[Node]:
    """Return the nodes that the backward pass at hand began with, of whichever thread runs it."""
    frame: FrameType | None = sys._getframe()
    frames = [frame, *sys._current_frames().values()]
    for frame in frames:
        while frame is not None:
            if frame.f_code is graph._engine_run_backward.__code__:
                outputs = frame.f_locals["t_outputs"]
                nodes = [x.grad_fn if isinstance(x, Tensor) else x.node for x in outputs]
                return [node for node in nodes if node is not None]
            frame = frame.f_back
    return []


def head_of(
    model: nn.Module, outside: Sequence[Call], start: int, finder: HeadFinder | None
) -> tuple[Call | None, int, str]:
    """Return the call of the head, the dimension of its classes, and what is to be said of it.

    Args:
        model: The model.
        outside: The calls outside of all blocks.
        start: Number of the first call behind all blocks.
        finder: What was seen of the loss; None where the model was not seen running.
    """
    calls = {call.number: call for call in outside}
    heads = [head for head in finder.found if head.call in calls] if finder else []
    heads = [head for head in heads if head.known_loss or _is_over_vocabulary(calls[head.call], model)]
    if not heads:
        has_graph = finder is not None and finder.has_seen_loss
        behind = [call for call in reversed(outside) if call.number >= start]
        unseen = [call for call in behind if not has_graph or (finder and call.number in finder.hidden)]
        head = next((call for call in unseen if _is_over_vocabulary(call, model)), None)
        return (head, -1, "") if head else (None, -1, _NONE)
    most = max(head.classes for head in heads)
    heads = [head for head in heads if head.classes == most]
    # The innermost module whose very output the softmax sees; else the one nearest to the loss.
    seen = [head for head in heads if head.as_seen]
    # What was called first of a chain is the outermost; of several heads the first is the main one.
    best = _innermost(seen, calls) if seen else heads[0]
    note = "" if best.as_seen else "output/log_z is of the head's output before the loss scales or caps it"
    return calls[best.call], best.dim, note


_NONE = "no head was found: output/log_z is not read"


def _innermost(heads: Sequence[Head], calls: dict[int, Call]) -> Head:
    inner = [h for h in heads if not any(calls[h.call].holds(calls[o.call]) for o in heads)]
    return min(inner, key=lambda head: head.call)


def _is_over_vocabulary(call: Call, model: nn.Module) -> bool:
    """Return whether a module's weight is an embedding's, or its outputs are as many as the largest one's."""
    weight = getattr(call.module, "weight", None)
    if not isinstance(weight, Tensor) or not is_linear(call.module):
        return False
    outputs = getattr(call.module, "out_features", weight.shape[0])
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    most = max((each.num_embeddings for each in embeddings), default=0)
    return outputs == most or any(each.weight is weight for each in embeddings)
