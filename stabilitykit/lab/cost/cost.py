"""A cost as a whole: operations, classes, memory, and how long they take at least."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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

    def to_json(self, peaks: Peaks | None) -> dict[str, Any]:
        """Return everything as plain data.

        Args:
            peaks: The machine's; without them there are no seconds.
        """
        return {
            "parameters": self.parameters,
            "total": self.total.to_json(),
            "passes": {name: each.to_json() for name, each in totals(self.operations).items()},
            "classes": class_rows(self.operations, peaks),
            "operations": [{**each.to_json(), **_time(each, peaks)} for each in self.operations],
            "memory": self.memory.to_json(),
            "bound_s": None if peaks is None else self.seconds(peaks),
        }


def least_seconds(operation: Operation, peaks: Peaks) -> float:
    """Return the roofline's bound on an operation, its passes one after another.

    Args:
        operation: The operation.
        peaks: The machine's.
    """
    return sum(peaks.seconds(getattr(operation, name)) for name in PASSES)


def class_rows(operations: Sequence[Operation], peaks: Peaks | None) -> list[dict[str, Any]]:
    """Return each class with its work and its shares.

    Args:
        operations: All operations.
        peaks: The machine's; without them there are no seconds.
    """
    whole = sum((each.total for each in operations), Work())
    rows = []
    for name in CLASSES:
        members = [each for each in operations if each.op_class == name]
        work = sum((each.total for each in members), Work())
        row: dict[str, Any] = {"class": name, **work.to_json()}
        row["flops_share"] = work.flops / whole.flops if whole.flops else 0.0
        row["bytes_share"] = work.bytes / whole.bytes if whole.bytes else 0.0
        row["bound_s"] = None if peaks is None else sum(least_seconds(each, peaks) for each in members)
        rows.append(row)
    return rows


def _time(operation: Operation, peaks: Peaks | None) -> dict[str, Any]:
    if peaks is None:
        return {"bound_s": None, "bound_by": None}
    total = operation.total
    limits = "memory" if (total.intensity or 0) < peaks.ridge else "arithmetic"
    return {"bound_s": least_seconds(operation, peaks), "bound_by": limits}
