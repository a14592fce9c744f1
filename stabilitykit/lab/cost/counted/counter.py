"""Count every operator of a step, and give it to its operation and pass."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from stabilitykit.lab.cost.counted.arithmetic import Done, done
from stabilitykit.lab.cost.operation import SUMS, Pass, Work, work

_MUON, _ORTHOGONALISE = "optimizer.muon", "optimizer.orthogonalise"


@dataclass
class Tally:
    """What one operation did."""

    passes: dict[Pass, Work] = field(default_factory=lambda: defaultdict(Work))
    saved: int = 0
    """Bytes kept for backward that nothing before it keeps."""
    multiplies: bool = False
    """Whether any of it was a product of matrices."""
    normalises: bool = False
    """Whether any of it took statistics of rows."""


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps a tally for every operation.

    In forward, and where forward is run again, an operator belongs to the innermost span that is open. In
    backward it belongs to the operation that made the node which is evaluated: nodes are numbered in the
    order in which they are made. What the engine adds up behind a node is nobody's: ``gradient_sums``.
    """

    def __init__(self, model: nn.Module) -> None:
        """Begin with nothing counted.

        Args:
            model: Whose parameters are not counted as saved, nor as working memory.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.products: dict[Pass, int] = {"forward": 0, "backward": 0, "step": 0}
        """FLOPs of products of matrices alone."""
        self.unattributed = Work()
        self.working = 0
        """Bytes that the largest single call reads and writes beside parameters."""
        self._weights = {_storage(each) for each in model.parameters()}
        self._open: list[str] = []
        self._made: dict[int, str | None] = {}
        self._numbered = _next_number()
        self._left: int | None = None
        self._last: str | None = None
        self._kept: dict[int, Tensor] = {}

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Count what is called meanwhile for an operation.

        Args:
            name: The operation.
        """
        self._number()
        self._open.append(name)
        try:
            yield
        finally:
            self._number()
            self._open.pop()

    def keep(self, tensor: Tensor) -> Tensor:
        """Count what autograd saves, each storage once; to be its hook for packing.

        Args:
            tensor: What it saves.
        """
        key = _storage(tensor)
        if key not in self._weights and key not in self._kept:
            self._kept[key] = tensor
            if self._open:
                self.tallies[self._open[-1]].saved += tensor.untyped_storage().nbytes()
        return tensor

    def watch(self, loss: Tensor) -> None:
        """Be told when each node of a graph is through: what follows is the engine's.

        Args:
            loss: Where backward will begin.
        """
        # What is saved is of no more interest, and shall be free as soon as backward lets go.
        self._kept.clear()
        waiting, seen = [loss.grad_fn], set[Any]()
        while waiting:
            node = waiting.pop()
            if node in seen or node is None:
                continue
            seen.add(node)
            number = node._sequence_nr()
            if number in self._made:
                node.register_hook(lambda *_ignored, number=number: self._leave(number))
            waiting += [below for below, _ in node.next_functions]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if not isinstance(func, torch._ops.OpOverload):
            return func(*args, **given)
        # Where no gradient can be asked for, torch hands over whole compositions.
        with self:
            out = func.decompose(*args, **given)
        if out is not NotImplemented:
            return out
        self._number()
        out = func(*args, **given)
        found = done(func, args, given, out)
        if found is not None:
            self._add(found, func._schema.name)
        return out

    def _add(self, found: Done, called: str) -> None:
        node = torch._C._current_autograd_node()
        name, in_pass = self._name(called), self._pass(node)
        if name == _MUON and found.is_product:
            name = _ORTHOGONALISE
        did = work(found.flops, found.read, found.written)
        self.products[in_pass] += found.flops * found.is_product
        own = (each for each in found.tensors if _storage(each) not in self._weights)
        self.working = max(self.working, sum(each.numel() * each.itemsize for each in own))
        if name is None:
            self.unattributed += did
            return
        tally = self.tallies[name]
        tally.passes[in_pass] += did
        tally.multiplies |= found.is_product
        tally.normalises |= found.normalises

    def _pass(self, node: Any) -> Pass:
        if node is not None:
            return "backward"
        return "step" if self._open and self._open[0].startswith("optimizer.") else "forward"

    def _name(self, called: str) -> str | None:
        if self._open:
            return self._open[-1]
        number = _number_of_current()
        if number is None:
            return None
        if number not in self._made:
            # A leaf keeps what the node before gave it.
            return self._last
        self._last = self._made[number]
        if number == self._left and called in ("aten::add", "aten::add_"):
            return SUMS
        return self._last

    def _number(self) -> None:
        """Note whose the nodes are that were made since the last look."""
        upto = _next_number()
        if upto > self._numbered:
            owner = self._open[-1] if self._open else None
            self._made.update(dict.fromkeys(range(self._numbered, upto), owner))
            self._numbered = upto

    def _leave(self, number: int) -> None:
        self._left = number


def _next_number() -> int:
    return int(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]


def _number_of_current() -> int | None:
    node = torch._C._current_autograd_node()
    return None if node is None else int(node._sequence_nr())


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
