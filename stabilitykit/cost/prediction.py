"""The prediction as a whole: operations, classes, memory, and how long they take at least."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stabilitykit.cost.memory import Memory, memory_needed
from stabilitykit.cost.operation import CLASSES, PASSES, Operation, Work, totals
from stabilitykit.cost.operations import model_operations
from stabilitykit.cost.optimizer import OptimizerName, optimizer_state, optimizer_step
from stabilitykit.cost.traffic import Case
from stabilitykit.cost.workload import Workload, check_workload
from stabilitykit.model.config import TransformerConfig
from stabilitykit.model.parameter_count import parameters_by_name


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a machine does at most, as measured on it."""

    flops: float
    """FLOPs a second of a large product of matrices."""
    bandwidth: float
    """Bytes a second, read and written, of a large copy."""

    @property
    def ridge(self) -> float:
        """FLOPs a byte from which on arithmetic is what limits."""
        return self.flops / self.bandwidth

    def seconds(self, work: Work) -> float:
        """Return the roofline's bound: no less than the arithmetic and no less than the traffic takes."""
        return max(work.flops / self.flops, work.bytes / self.bandwidth)

    def to_json(self) -> dict[str, float]:
        """Return both peaks and the ridge between them."""
        return {"flops_per_s": self.flops, "bytes_per_s": self.bandwidth, "ridge": self.ridge}


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


@dataclass(frozen=True)
class Prediction(Cost):
    """What a model costs at a workload, computed from its configuration alone."""

    case: Case
    optimizer: OptimizerName

    def to_json(self, peaks: Peaks | None) -> dict[str, Any]:
        """Return everything as plain data.

        Args:
            peaks: The machine's; without them there are no seconds.
        """
        workload = self.case.workload
        return {
            "mode": workload.mode,
            "batch": workload.batch,
            "length": workload.length,
            "dtype": workload.dtype,
            "optimizer": self.optimizer if workload.mode == "train" else None,
            **super().to_json(peaks),
            "config": self.case.config.resolved().model_dump(mode="json"),
        }


def predict(config: TransformerConfig, workload: Workload, optimizer: OptimizerName = "adamw") -> Prediction:
    """Return what a model costs; no weight is built and nothing large is allocated.

    Args:
        config: The model, of any size.
        workload: What it is asked to do.
        optimizer: What steps, in training.

    Raises:
        ConfigError: The model could not be given that workload.
    """
    check_workload(workload, config)
    case, parameters = Case(config, workload), parameters_by_name(config)
    operations = model_operations(case, parameters)
    state = 0
    if workload.mode == "train":
        operations += optimizer_step(case, optimizer, parameters)
        state = optimizer_state(case, optimizer, parameters)
    return Prediction(tuple(operations), memory_needed(case, operations, state), case, optimizer)


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
