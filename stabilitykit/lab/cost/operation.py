"""The words of a cost: work, an operation, its class. No torch."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

OpClass = Literal["contraction", "normalisation", "element-wise"]
"""The lecture's three classes (Ivanov et al. 2007.00072, table 1): products of matrices; what takes
statistics of a row, softmax among it; everything else."""

CLASSES: tuple[OpClass, ...] = ("contraction", "normalisation", "element-wise")
"""In the order of tables."""

Pass = Literal["forward", "backward", "step"]

PASSES: tuple[Pass, ...] = get_args(Pass)
"""What an operation works in; ``step`` is the optimizer's."""


@dataclass(frozen=True, slots=True)
class Work:
    """Arithmetic and memory traffic of one pass; sums of these are again one."""

    flops: int = 0
    """Floating-point operations that the result needs; a multiply-add is 2, an exponential or a root 1."""
    dense_flops: int = 0
    """The same where attention computes what its mask hides, as torch's flop counter counts."""
    read: int = 0
    """Bytes."""
    written: int = 0
    """Bytes."""

    @property
    def bytes(self) -> int:
        """Bytes read and written."""
        return self.read + self.written

    @property
    def intensity(self) -> float | None:
        """FLOPs a byte; None where nothing moves."""
        return self.flops / self.bytes if self.bytes else None

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.flops + other.flops,
            self.dense_flops + other.dense_flops,
            self.read + other.read,
            self.written + other.written,
        )

    def __mul__(self, times: int) -> "Work":
        return Work(self.flops * times, self.dense_flops * times, self.read * times, self.written * times)


SUMS = "gradient_sums"
"""Where a tensor is read more than once, its gradients are added up: an operation of backward alone."""


def work(flops: int = 0, read: int = 0, written: int = 0) -> Work:
    """Return the work of something without a mask.

    Args:
        flops: Floating-point operations.
        read: Bytes.
        written: Bytes.
    """
    return Work(flops, flops, read, written)


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of operation, summed over all layers that have it."""

    name: str
    """The path of the module that does it, without the block's number, or of the function in it."""
    op_class: OpClass
    """Its class."""
    forward: Work = Work()
    backward: Work = Work()
    step: Work = Work()
    """The optimizer's step."""
    saved: int = 0
    """Bytes kept from forward for backward that no operation before it keeps."""
    parameters: int = 0
    """Learned numbers that are its own."""
    layers: int = 1
    """How many blocks have it; 1 outside blocks."""

    @property
    def total(self) -> Work:
        """All three passes."""
        return self.forward + self.backward + self.step

    def times(self, layers: int) -> "Operation":
        """Return the sum over so many layers."""
        return replace(
            self,
            forward=self.forward * layers,
            backward=self.backward * layers,
            step=self.step * layers,
            saved=self.saved * layers,
            parameters=self.parameters * layers,
            layers=self.layers * layers,
        )


def forward_only(operation: Operation) -> Operation:
    """Return the operation where nothing learns: no backward, nothing kept for it."""
    return replace(operation, backward=Work(), saved=0)


def gathered(operations: Iterable[Operation]) -> list[Operation]:
    """Return the operations with those of one name added up, in the order of their first."""
    found: dict[str, Operation] = {}
    for each in operations:
        old = found.get(each.name)
        found[each.name] = each if old is None else _sum(old, each)
    return list(found.values())


def _sum(one: Operation, other: Operation) -> Operation:
    return replace(
        one,
        forward=one.forward + other.forward,
        backward=one.backward + other.backward,
        step=one.step + other.step,
        saved=one.saved + other.saved,
        parameters=one.parameters + other.parameters,
        layers=one.layers + other.layers,
    )


def totals(operations: Iterable[Operation]) -> dict[Pass, Work]:
    """Return the work of every pass, summed."""
    sums = dict.fromkeys(PASSES, Work())
    for each in operations:
        for name in PASSES:
            sums[name] += getattr(each, name)
    return sums
