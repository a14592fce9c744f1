"""What models cost, predicted and measured side by side."""

from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stabilitykit.lab.cost.comparisons import compared
from stabilitykit.lab.cost.cost import Cost
from stabilitykit.lab.cost.device import measuring_device
from stabilitykit.lab.cost.document import (
    ClassRow,
    ComparedSide,
    CostDocument,
    GrowthRow,
    OperationRow,
    Side,
    StepMeasured,
)
from stabilitykit.lab.cost.measured.measurement import (
    MeasuredOperation,
    Measurement,
    measured_ratios,
    measurement,
)
from stabilitykit.lab.cost.measured.own import done_by
from stabilitykit.lab.cost.measured.rounds import Times, run_rounds
from stabilitykit.lab.cost.measured.steps import own_step
from stabilitykit.lab.cost.measured.variant import Variant
from stabilitykit.lab.cost.memory import Memory, memory_available, require_memory
from stabilitykit.lab.cost.operation import CLASSES, PASSES, Operation
from stabilitykit.lab.cost.peaks import Peaks
from stabilitykit.lab.cost.predicted.optimizer import OptimizerName
from stabilitykit.lab.cost.predicted.prediction import predict
from stabilitykit.lab.cost.spread import spread
from stabilitykit.lab.cost.workload import Workload

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class Priced:
    """One model's cost."""

    label: str
    prediction: Cost
    """From a configuration; of a model that is not ours, what was counted."""
    measurement: Measurement | None = None
    """None where nothing was run."""

    def side(self, peaks: Peaks | None = None) -> Side:
        """Return the prediction, and what was measured beside each class and operation.

        Operations that were measured and not predicted follow the others, without work.

        Args:
            peaks: The machine's; without them there are no bounds.
        """
        side, measured = self.prediction.side(self.label, peaks), self.measurement
        found: dict[str, MeasuredOperation] = {}
        rows = side.operations
        told: dict[str, object] = {"measured": None}
        if measured is not None:
            found = {each.name: each for each in measured.operations}
            rows = [*rows, *_unforeseen(side, measured)]
            told = {"measured": _step(measured), "classes": _timed(side, measured)}
        return side.model_copy(update={**told, "operations": [_measured(row, found) for row in rows]})

    def to_json(self, peaks: Peaks | None = None) -> dict[str, Any]:
        """Return the same as plain data.

        Args:
            peaks: The machine's; without them there are no bounds.
        """
        return self.side(peaks).to_json()


def priced(
    variants: Sequence[Variant],
    workload: Workload,
    optimizer: OptimizerName,
    seconds: float | None,
    on_progress: OnProgress | None = None,
) -> list[Priced]:
    """Return what variants cost.

    Args:
        variants: The models; the first is what the others are compared with.
        workload: What they are asked to do.
        optimizer: What steps, in training.
        seconds: About how long each of them is measured; None to predict alone.
        on_progress: Called while measuring with the share that is done.

    Raises:
        ConfigError: A model could not be given that workload.
        DataError: All of them together do not fit in memory; nothing was allocated.
    """
    predictions = [predict(each.config, workload, optimizer) for each in variants]
    if seconds is None:
        return [Priced(each.label, one) for each, one in zip(variants, predictions, strict=True)]
    require_memory(sum((each.memory for each in predictions), Memory(0)), memory_available())
    with ExitStack() as opened:
        steps = [own_step(each, workload, optimizer, opened) for each in variants]
        times = run_rounds(steps, seconds * len(steps), on_progress)
    return [
        Priced(each.label, one, measured_as(one, found))
        for each, one, found in zip(variants, predictions, times, strict=True)
    ]


def cost_document(
    sides: Sequence[Priced], peaks: Peaks | None, growth: Sequence[GrowthRow] | None = None
) -> CostDocument:
    """Return the first side's cost, with the others' under ``compared``.

    Args:
        sides: One or more, measured in the same rounds or not at all.
        peaks: The machine's; without them there are no bounds.
        growth: What they cost where a cache grows.
    """
    told = {**sides[0].side(peaks).given(), "peaks": peaks, "available": memory_available()}
    if len(sides) > 1:
        told["compared"] = [_compared(sides[0], each, peaks) for each in sides[1:]]
    if growth is not None:
        told["growth"] = growth
    return CostDocument.model_validate(told)


def measured_as(prediction: Cost, times: Times) -> Measurement:
    """Return what times say of a model, by the operations that it is known to have.

    Args:
        prediction: These operations.
        times: What a step of the model took in every round.
    """
    classes = {each.name: each.op_class for each in prediction.operations}
    return measurement(
        times,
        lambda name: classes.get(name, "element-wise"),
        lambda name: _folded(name, classes),
    )


def _folded(name: str, known: Container[str]) -> str:
    """Return the operation that a part of one counts with, where it is none itself.

    Sums behind a node that has no bias belong to the node, attention's parts to attention.
    """
    whole, _, part = name.rpartition(".")
    return whole if name not in known and (part == "bias" or whole in known) else name


def _unforeseen(side: Side, measured: Measurement) -> list[OperationRow]:
    """Return a row without work for every operation that was not predicted."""
    predicted = {row.name for row in side.operations}
    rows = [
        OperationRow.model_validate(Operation(each.name, each.op_class, layers=0))
        for each in measured.operations
        if each.name not in predicted
    ]
    return [each.model_copy(update={"bound_s": 0.0, "bound_by": None}) for each in rows]


def _timed(side: Side, measured: Measurement) -> list[ClassRow]:
    """Return the classes with their seconds and shares of all kernels' time."""
    return [
        row.model_copy(
            update={"seconds": spread(measured.of_class(name)), "time_share": measured.share(name)}
        )
        for row, name in zip(side.classes, CLASSES, strict=True)
    ]


def _measured(row: OperationRow, found: Mapping[str, MeasuredOperation]) -> OperationRow:
    own, elsewhere = found.get(row.name), done_by(row.name)
    told = {
        "measured": own and own.row(),
        "done_by": elsewhere if own is None and elsewhere in found else None,
    }
    return row.model_copy(update=told)


def _compared(first: Priced, other: Priced, peaks: Peaks | None) -> ComparedSide:
    told = {**other.side(peaks).given(), "ratios": compared(first.prediction, other.prediction, peaks)}
    if first.measurement is not None and other.measurement is not None:
        told["measured_ratios"] = measured_ratios(first.measurement, other.measurement)
    return ComparedSide.model_validate(told)


def _step(measured: Measurement) -> StepMeasured:
    device = measuring_device()
    return StepMeasured(
        rounds=len(measured.plain),
        step_s=measured.step,
        profiled_s=spread(measured.profiled),
        kernels_s=spread(measured.kernels),
        pass_s={name: spread(measured.of_pass(name)) for name in PASSES},
        # Of the step as it is: what the profiler adds lies outside of kernels.
        outside_share=max(0.0, 1 - float(np.median(measured.kernels / measured.plain))),
        unattributed_share=measured.unattributed_share,
        device="cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
