"""What models cost, predicted and measured side by side."""

from collections.abc import Callable, Container, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from stabilitykit.lab.cost.comparisons import compared
from stabilitykit.lab.cost.cost import Cost
from stabilitykit.lab.cost.device import measuring_device
from stabilitykit.lab.cost.measured.measurement import (
    Measurement,
    class_seconds,
    measured_ratios,
    measurement,
)
from stabilitykit.lab.cost.measured.own import done_by
from stabilitykit.lab.cost.measured.rounds import Times, run_rounds
from stabilitykit.lab.cost.measured.steps import own_step
from stabilitykit.lab.cost.measured.variant import Variant
from stabilitykit.lab.cost.memory import Memory, memory_available, require_memory
from stabilitykit.lab.cost.operation import Operation
from stabilitykit.lab.cost.peaks import Peaks
from stabilitykit.lab.cost.predicted.optimizer import OptimizerName
from stabilitykit.lab.cost.predicted.prediction import predict
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

    def to_json(self, peaks: Peaks | None = None) -> dict[str, Any]:
        """Return the prediction, and what was measured beside each class and operation.

        Operations that were measured and not predicted follow the others, without work.

        Args:
            peaks: The machine's; without them there are no bounds.
        """
        document = {"arch": self.label, **self.prediction.to_json(peaks), "measured": None}
        found: dict[str, Any] = {}
        if self.measurement is not None:
            found = {each.name: each.to_json() for each in self.measurement.operations}
            classes = class_seconds(self.measurement)
            document["classes"] = [{**row, **classes[row["class"]]} for row in document["classes"]]
            document["operations"] += _unforeseen(document["operations"], self.measurement)
            document["measured"] = {**self.measurement.to_json(), **_machine()}
        document["operations"] = [{**row, **_measured(row["name"], found)} for row in document["operations"]]
        return document


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


def document(sides: Sequence[Priced], peaks: Peaks | None) -> dict[str, Any]:
    """Return the first side's cost, with the others' under ``compared``.

    Args:
        sides: One or more, measured in the same rounds or not at all.
        peaks: The machine's; without them there are no bounds.
    """
    first = sides[0]
    told = {**first.to_json(peaks), "peaks": peaks and peaks.to_json(), "available": memory_available()}
    if len(sides) > 1:
        told["compared"] = [{**each.to_json(peaks), **_ratios(first, each, peaks)} for each in sides[1:]]
    return told


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


def _unforeseen(rows: Sequence[dict[str, Any]], measured: Measurement) -> list[dict[str, Any]]:
    """Return a row without work for every operation that was not predicted."""
    predicted = {row["name"] for row in rows}
    further = [each for each in measured.operations if each.name not in predicted]
    no_bound = {"bound_s": 0.0, "bound_by": None}
    return [{**Operation(each.name, each.op_class, layers=0).to_json(), **no_bound} for each in further]


def _measured(name: str, found: dict[str, Any]) -> dict[str, Any]:
    own = found.get(name)
    elsewhere = done_by(name)
    return {"measured": own, "done_by": elsewhere if own is None and elsewhere in found else None}


def _ratios(first: Priced, other: Priced, peaks: Peaks | None) -> dict[str, Any]:
    told: dict[str, Any] = {"ratios": compared(first.prediction, other.prediction, peaks)}
    if first.measurement is not None and other.measurement is not None:
        ratios = measured_ratios(first.measurement, other.measurement)
        told["measured_ratios"] = {name: each and each.to_json() for name, each in ratios.items()}
    return told


def _machine() -> dict[str, Any]:
    device = measuring_device()
    name = "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}
