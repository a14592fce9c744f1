"""A cost as a whole: operations, classes, memory, and how long they take at least."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stabilitykit.lab.cost.document import ClassRow, OperationRow, Side, WorkRow
from stabilitykit.lab.cost.memory import Memory
from stabilitykit.lab.cost.operation import CLASSES, PASSES, Operation, Work, totals
from stabilitykit.lab.cost.peaks import Peaks


@dataclass(frozen=True)
class Cost:
    """What a model's operations compute and move, and what they need in memory."""

    operations: tuple[Operation, ...]
    """Forward and backward in data order, then the optimizer's."""
    memory: Memory

    @property
    def parameters(self) -> int:
        """Learned numbers; a tied table counts once."""
        return sum(each.parameters for each in self.operations)

    @property
    def total(self) -> Work:
        """All passes of all operations."""
        return sum((each.total for each in self.operations), Work())

    def seconds(self, peaks: Peaks) -> float:
        """Return the least time of all operations one after another."""
        return sum(least_seconds(each, peaks) for each in self.operations)

    def described(self) -> Mapping[str, Any]:
        """Return what was asked for: mode, batch, length, type, optimizer, and where the cost is from."""
        raise NotImplementedError

    def side(self, arch: str, peaks: Peaks | None) -> Side:
        """Return the model's part of a document.

        Args:
            arch: What the model is called.
            peaks: The machine's; without them there are no seconds.
        """
        return Side.model_validate(
            {
                "arch": arch,
                **self.described(),
                "parameters": self.parameters,
                "total": self.total,
                "passes": totals(self.operations),
                "classes": _class_rows(self.operations, peaks),
                "operations": [_operation_row(each, peaks) for each in self.operations],
                "memory": self.memory,
                "bound_s": None if peaks is None else self.seconds(peaks),
            }
        )


def least_seconds(operation: Operation, peaks: Peaks) -> float:
    """Return the roofline's bound on an operation, its passes one after another.

    Args:
        operation: The operation.
        peaks: The machine's.
    """
    return sum(peaks.seconds(getattr(operation, name)) for name in PASSES)


def _class_rows(operations: Sequence[Operation], peaks: Peaks | None) -> list[ClassRow]:
    """Return each class with its work and its shares."""
    whole = sum((each.total for each in operations), Work())
    rows = []
    for name in CLASSES:
        members = [each for each in operations if each.op_class == name]
        work = sum((each.total for each in members), Work())
        row = {"class": name, **WorkRow.model_validate(work).given()}
        row["flops_share"] = work.flops / whole.flops if whole.flops else 0.0
        row["bytes_share"] = work.bytes / whole.bytes if whole.bytes else 0.0
        row["bound_s"] = None if peaks is None else sum(least_seconds(each, peaks) for each in members)
        rows.append(ClassRow.model_validate(row))
    return rows


def _operation_row(operation: Operation, peaks: Peaks | None) -> OperationRow:
    bound_s, bound_by = None, None
    if peaks is not None:
        bound_s = least_seconds(operation, peaks)
        bound_by = "memory" if (operation.total.intensity or 0) < peaks.ridge else "arithmetic"
    row = OperationRow.model_validate(operation)
    return row.model_copy(update={"bound_s": bound_s, "bound_by": bound_by})
