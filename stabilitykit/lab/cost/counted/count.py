"""What one step of any model was counted to cost."""

from collections import Counter as Sums
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from stabilitykit.lab.cost.cost import Cost
from stabilitykit.lab.cost.counted.counter import Counter, Tally
from stabilitykit.lab.cost.measured.foreign import ForeignNamer
from stabilitykit.lab.cost.measured.places import marked
from stabilitykit.lab.cost.memory import Memory
from stabilitykit.lab.cost.operation import OpClass, Operation, Pass, Work
from stabilitykit.lab.cost.task import CRITERION, ROOT, Task


@dataclass(frozen=True)
class Count(Cost):
    """What a model costs on a batch, counted while it ran once."""

    task: Mapping[str, Any]
    """Mode, batch, length, type and optimizer."""
    learned: int
    """Parameters; what several modules share counts once."""
    products: Mapping[Pass, int] = field(default_factory=dict)
    """FLOPs of products of matrices alone, which torch's flop counter counts, too."""
    unattributed: Work = field(default_factory=Work)
    """What was done outside of the model and its loss."""

    @property
    def parameters(self) -> int:
        """Learned numbers, also those that no operation uses."""
        return self.learned

    def described(self) -> Mapping[str, Any]:
        """Return what the task was, and that it was counted."""
        return {**self.task, "counted": True}


def foreign_namer(task: Task) -> ForeignNamer:
    """Return what names the places of a task.

    Args:
        task: The task.
    """
    return ForeignNamer(task.whole, ROOT, CRITERION)


def count(task: Task) -> Count:
    """Run one step and return what it cost; on the meta device it takes neither memory nor arithmetic.

    Args:
        task: The step; within ``task.as_found()`` only what its optimizer does stays.
    """
    namer, counter = foreign_namer(task), Counter(task.whole)
    task.forget()
    with counter, marked(task.whole, namer, counter.span):
        with torch.autograd.graph.saved_tensors_hooks(counter.keep, lambda tensor: tensor):
            loss = task.forward()
        if task.mode == "train":
            counter.watch(loss)
            task.backward(loss)
        gradients = sum(_size(each.grad) for each in task.module.parameters() if each.grad is not None)
        if task.optimizer is not None:
            with counter.span(f"optimizer.{type(task.optimizer).__name__.lower()}"):
                task.optimizer.step()
    tallies, parameters = dict(counter.tallies), _parameters(task.module, namer, [*counter.tallies])
    operations = [_operation(name, each, namer, parameters[name]) for name, each in tallies.items()]
    memory = Memory(
        weights=sum(map(_size, task.module.parameters())),
        gradients=gradients,
        optimizer=_state(task.optimizer),
        activations=sum(each.saved for each in operations),
        working=counter.working,
    )
    return Count(
        tuple(operations),
        memory,
        _described(task),
        sum(each.numel() for each in task.module.parameters()),
        counter.products,
        counter.unattributed,
    )


def _operation(name: str, tally: Tally, namer: ForeignNamer, parameters: int) -> Operation:
    return Operation(
        name,
        _class(name, tally, namer),
        **tally.passes,
        saved=tally.saved,
        parameters=parameters,
        layers=namer.layers(name),
    )


def _class(name: str, tally: Tally, namer: ForeignNamer) -> OpClass:
    if namer.is_norm(name):
        return "normalisation"
    if tally.multiplies:
        return "contraction"
    return "normalisation" if tally.normalises else "element-wise"


def _parameters(module: nn.Module, namer: ForeignNamer, operations: list[str]) -> Sums[str]:
    """Return how many parameters each operation has: those of its module, or of the nearest one around."""
    counts: Sums[str] = Sums()
    for name, parameter in module.named_parameters():
        counts[_owner(namer.path(name), operations)] += parameter.numel()
    return counts


def _owner(path: str, operations: list[str]) -> str:
    while path:
        if path in operations:
            return path
        inside = next((each for each in operations if each.startswith(f"{path}.")), None)
        if inside is not None:
            return inside
        path = path.rpartition(".")[0]
    return next(iter(operations), "")


def _described(task: Task) -> dict[str, Any]:
    first = next((each for each in tree_leaves(task.batch) if isinstance(each, Tensor)), None)
    kinds = (each.dtype for each in task.module.parameters() if each.is_floating_point())
    kind = next(kinds, torch.get_default_dtype())
    optimizer = task.optimizer
    return {
        "mode": task.mode,
        "batch": first.shape[0] if first is not None and first.dim() else 1,
        "length": first.shape[1] if first is not None and first.dim() > 1 else 1,
        "dtype": str(kind).removeprefix("torch."),
        "optimizer": None if optimizer is None else type(optimizer).__name__.lower(),
    }


def _state(optimizer: Optimizer | None) -> int:
    if optimizer is None:
        return 0
    return sum(_size(each) for each in tree_leaves([*optimizer.state.values()]) if isinstance(each, Tensor))


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.itemsize
