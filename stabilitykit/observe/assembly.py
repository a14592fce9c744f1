"""From merged partials on the host to the readings of a step record."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stabilitykit.observe.detail_tap import Detail
from stabilitykit.observe.gradients import GradientNorms
from stabilitykit.observe.optimizer_tap import OptimizerStep
from stabilitykit.observe.partials import BOUND, COUNT, MAXIMUM, MINIMUM, NORM, SUM, pack
from stabilitykit.observe.site import Role, Site
from stabilitykit.observe.update_readings import Parameters, clip_factor, update_readings, was_skipped
from stabilitykit.records import StepRecord
from stabilitykit.stats import max_abs, nonfinite, rms
from stabilitykit.tags import tag

Numbers = NDArray[np.float64]
Column = tuple[tuple[str, ...], Numbers]
"""Tags, and a number for each."""


@dataclass(frozen=True, slots=True)
class PackedStep:
    """One step as a single vector, and what stands where in it."""

    partials: Tensor
    counts: tuple[int, ...]
    """Elements behind each row of the buffer; 0 for a row that was not written."""
    scalars: Mapping[str, Tensor]
    gradients: GradientNorms | None
    steps: tuple[OptimizerStep, ...] | None
    """What the optimizers' steps left; None of a model without an optimizer."""
    has_stepped: bool
    """Whether an optimizer stepped at all."""
    floats: Mapping[str, float]
    """Scalars that never were on the device."""
    details: tuple[Detail, ...] = ()

    def vector(self, device: torch.device) -> Tensor:
        """Return all that waits on the device, in the order in which a record takes it apart."""
        gradients = [self.gradients.values] if self.gradients else []
        steps = [tensor for step in self.steps or () for tensor in (step.norms, step.products, step.steps)]
        details = [detail.numbers for detail in self.details]
        tensors = [self.partials, *self.scalars.values(), *gradients, *steps, *details]
        return pack([t.to(device) for t in tensors])


class _Reader:
    """Hands out a vector from its front to its end."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def take(self, like: Tensor) -> Numbers:
        """Return the next numbers, in the shape of the tensor that they were packed from."""
        found, self._numbers = self._numbers[: like.numel()], self._numbers[like.numel() :]
        return found.reshape(like.shape)


class Assembly:
    """Turns packed steps into records; their tags tuple is shared while it stays the same.

    Args:
        sites: The sites behind the buffer's rows.
    """

    def __init__(self, sites: tuple[Site, ...]) -> None:
        self._sites = sites
        self._tags: tuple[str, ...] = ()
        self.fired_rows: tuple[int, ...] = ()
        """Rows of the buffer that were written at the newest step."""

    # A number that is none is a reading as any other, and told by its value alone.
    @np.errstate(all="ignore")
    def record(self, step: int, packed: PackedStep, numbers: Numbers) -> StepRecord:
        """Return the record of a packed step.

        Args:
            step: Optimizer steps finished before this one.
            packed: What was packed.
            numbers: ``packed.vector`` on the host.
        """
        reader = _Reader(numbers)
        rows = reader.take(packed.partials)
        scalars = np.array([float(reader.take(scalar)) for scalar in packed.scalars.values()])
        count = rows[:, COUNT] + packed.counts
        self.fired_rows = tuple(np.flatnonzero(count).tolist())
        columns = [
            (tuple(packed.scalars), scalars),
            (tuple(packed.floats), np.array(list(packed.floats.values()))),
            *_forward(self._sites, rows, count),
            *_backward(packed, reader),
            *_details(packed.details, reader),
        ]
        tags = tuple(name for names, _ in columns for name in names)
        if tags != self._tags:
            self._tags = tags
        values = np.concatenate([column for _, column in columns])
        return StepRecord(step, self._tags, values.astype(np.float32))


def _forward(sites: tuple[Site, ...], rows: Numbers, count: Numbers) -> list[Column]:
    """Return what the taps on activations, attention and output logits saw."""
    fired = tuple((count > 0).tolist())
    act, act_sites = _rows(sites, Role.ACTIVATION, fired)
    attn, attn_sites = _rows(sites, Role.ATTENTION, fired)
    logits, logits_sites = _rows(sites, Role.LOGITS, fired)
    low, high = rows[act, MINIMUM], rows[act, MAXIMUM]
    return [
        (_tags("act/rms", act_sites), rms(rows[act, NORM], count[act])),
        (_tags("act/max_abs", act_sites), max_abs(low, high)),
        (_tags("act/nonfinite", act_sites), nonfinite(low, high)),
        (_tags("attn/logit_max", attn_sites), rows[attn, MAXIMUM]),
        (_tags("attn/logit_max_bound", attn_sites), rows[attn, BOUND]),
        (_tags("attn/entropy", attn_sites), rows[attn, SUM] / count[attn]),
        (_tags("attn/entropy_min", attn_sites), rows[attn, MINIMUM]),
        (_tags("output/log_z", ("",) * len(logits_sites)), rows[logits, SUM] / count[logits]),
        *_statistics(sites, rows, count, fired),
    ]


def _statistics(
    sites: tuple[Site, ...], rows: Numbers, count: Numbers, fired: tuple[bool, ...]
) -> Iterator[Column]:
    """Yield what the statistics of the user's own gave."""
    found, _ = _rows(sites, Role.STATISTIC, fired)
    for row in found.tolist():
        statistic = sites[row].statistic
        if statistic is not None:
            value = rows[row, statistic.column] / (count[row] if statistic.merge == "mean" else 1)
            yield (sites[row].key,), np.array([value])


def _details(details: tuple[Detail, ...], reader: _Reader) -> list[Column]:
    """Return what was taken from one sequence."""
    readings = [detail.readings(reader.take(detail.numbers).tolist()) for detail in details]
    return [(tuple(each), np.array(list(each.values()))) for each in readings]


def _backward(packed: PackedStep, reader: _Reader) -> list[Column]:
    """Return what gradients and optimizers' steps gave."""
    norms = reader.take(packed.gradients.values) if packed.gradients else np.empty(0)
    columns = _gradients(packed.gradients, norms) if packed.gradients else []
    if packed.steps is None:
        return columns
    skipped = not packed.has_stepped
    if packed.steps:
        parts = [
            Parameters.of(step, reader.take(step.norms), reader.take(step.products), reader.take(step.steps))
            for step in packed.steps
        ]
        found = Parameters.joined(parts)
        skipped = skipped or was_skipped(found, norms)
        columns += _updates(packed.steps, parts, found)
        factor = clip_factor(found, packed.gradients, norms) if packed.gradients else None
        columns += [(("optim/clip_factor",), np.array([factor]))] if factor is not None else []
    return [*columns, (("optim/skipped",), np.array([float(skipped)]))]


def _gradients(gradients: GradientNorms, norms: Numbers) -> list[Column]:
    """Return the global norm, and each group's norm and share."""
    groups, norm = gradients.by_group(norms)
    total = np.sqrt(np.square(norm).sum(keepdims=True))
    # Where every gradient is zero, no block has a share.
    share = np.divide(norm, total, out=np.zeros_like(norm), where=total != 0)
    return [
        (("optim/grad_norm",), total),
        (_tags("grad/norm", groups), norm),
        (_tags("grad/share", groups), share),
    ]


def _updates(steps: tuple[OptimizerStep, ...], parts: list[Parameters], found: Parameters) -> list[Column]:
    """Return what was read of updates, second moments, gradients' directions and norms' gains."""
    columns = [
        (_tags(name, tuple(values)), np.array(list(values.values())))
        for name, values in update_readings(found, steps[0].watched.groups).items()
    ]
    gains = {
        norm: float(np.sqrt(part.weight[place] / part.size[place]))
        for step, part in zip(steps, parts, strict=True)
        for norm, place in step.gains.items()
    }
    return [*columns, (_tags("norm/gain_rms", tuple(gains)), np.array(list(gains.values())))]


@lru_cache(maxsize=32)
def _rows(
    sites: tuple[Site, ...], role: Role, fired: tuple[bool, ...]
) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Return the rows of a role that were written, and their sites."""
    found = [row for row, site in enumerate(sites) if site.role is role and fired[row]]
    return np.array(found, dtype=np.intp), tuple(sites[row].name for row in found)


@lru_cache(maxsize=64)
def _tags(name: str, sites: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(tag(name, site) for site in sites)
