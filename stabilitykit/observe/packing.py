"""A step's numbers on their way: one vector from the device, and what each number of it is on the host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from stabilitykit.observe.detail_tap import Detail
from stabilitykit.observe.gradients import GradientNorms
from stabilitykit.observe.optimizer_tap import OptimizerStep
from stabilitykit.observe.partials import COLUMNS, PartialBuffer, pack
from stabilitykit.observe.schema import (
    BETA2,
    HAS,
    HAS_MOMENT,
    PRODUCT,
    SQUARE,
    STEP_ROWS,
    STEPS,
    Plan,
    Schema,
    StepPart,
)
from stabilitykit.observe.sharding import Share
from stabilitykit.observe.watched import Numbers

_SAMPLED = 5
"""Kinds of norms that an optimizer's step leaves of each row of its sample."""


@dataclass(frozen=True, slots=True)
class PackedStep:
    """One step as a single vector, and what stands where in it."""

    schema: Schema
    host: Numbers
    """Numbers that never were on the device; they come first."""
    vector: Tensor
    """The others, in float32."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        shares: tuple[Share, ...],
        buffer: PartialBuffer,
        floats: Mapping[str, float],
        scalars: Mapping[str, Tensor],
        gradients: GradientNorms | None,
        steps: Sequence[OptimizerStep],
        has_optimizer: bool,
        has_stepped: bool,
        details: Sequence[Detail],
    ) -> "PackedStep":
        """Join everything that waits.

        Args:
            plan: What the layout says.
            shares: What this process holds of each parameter.
            buffer: The partials.
            floats: Scalars that never were on the device.
            scalars: Scalars that are.
            gradients: Norms of the gradients, where they were read.
            steps: What the optimizers' steps left.
            has_optimizer: Whether steps are seen at all.
            has_stepped: Whether an optimizer has stepped.
            details: What was taken from one sequence.
        """
        partials = buffer.partials()
        host = [np.array([*buffer.counts, *floats.values()], dtype=np.float64)]
        tensors = [partials, *scalars.values()]
        if gradients:
            has = np.zeros(len(plan.group_of))
            has[gradients.watched.places] = 1.0
            host.append(has)
            tensors.append(gradients.values)
        for step in steps:
            host.append(_flags(step))
            tensors += [step.norms, step.products, step.steps]
        host.append(np.array([detail.n_tokens for detail in details], dtype=np.float64))
        tensors += [detail.numbers for detail in details]
        schema = Schema(
            plan=plan,
            floats=tuple(floats),
            scalars=tuple(scalars),
            has_gradients=gradients is not None,
            has_optimizer=has_optimizer,
            has_stepped=has_stepped,
            steps=tuple(step.part for step in steps),
            details=tuple(detail.part for detail in details),
            shares=shares,
        )
        device = buffer.rows.device
        return cls(schema, np.concatenate(host), pack([t.to(device) for t in tensors]))


@dataclass(frozen=True, slots=True)
class StepNumbers:
    """A step's numbers on the host, sums taken over the sample of each parameter."""

    counts: Numbers
    """Elements behind each row of partials; 0 for a row that was not written."""
    floats: Numbers
    partials: Numbers
    scalars: Numbers
    gradients: Numbers
    """Rows ``SQUARE`` and ``HAS``; a column for each watched parameter, none where nothing was read."""
    steps: list[Numbers]
    """Rows ``UPDATE`` to ``HAS_MOMENT``, a column for each parameter of the optimizer."""
    details: list[Numbers]
    """Tokens looked at, then the numbers."""

    def flat(self) -> Numbers:
        """Return all numbers in order."""
        parts = (self.counts, self.floats, self.partials, self.scalars, self.gradients)
        return np.concatenate([part.ravel() for part in (*parts, *self.steps, *self.details)])

    @classmethod
    def cut(cls, schema: Schema, flat: Numbers) -> "StepNumbers":
        """Return what ``flat`` has joined."""
        reader = _Reader(flat)
        counts, floats, partials, scalars, gradients, *tables = (reader.take(*s) for s in schema.shapes)
        n_steps = len(schema.steps)
        return cls(counts, floats, partials, scalars, gradients, tables[:n_steps], tables[n_steps:])


class _Reader:
    """Hands out a vector from its front."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers, self._at = numbers, 0

    def take(self, *shape: int) -> Numbers:
        """Return the next numbers in a shape."""
        start, self._at = self._at, self._at + int(np.prod(shape, dtype=np.intp))
        return self._numbers[start : self._at].reshape(shape)


def unpacked(schema: Schema, numbers: Numbers) -> StepNumbers:
    """Return the numbers of a packed step.

    Args:
        schema: What they are.
        numbers: ``host`` and ``vector`` of a ``PackedStep`` in turn; what follows is passed over.
    """
    reader, n_rows, n_parameters = _Reader(numbers), len(schema.plan.sites), len(schema.plan.group_of)
    counts, floats = reader.take(n_rows), reader.take(len(schema.floats))
    has_gradient = reader.take(n_parameters * schema.has_gradients)
    flags = [reader.take(STEP_ROWS - BETA2, len(part.places)) for part in schema.steps]
    n_tokens = reader.take(len(schema.details))
    partials, scalars = reader.take(n_rows, COLUMNS), reader.take(len(schema.scalars))
    gradients = np.zeros((2, len(has_gradient)))
    found = has_gradient > 0
    gradients[HAS] = has_gradient
    gradients[SQUARE, found] = reader.take(int(found.sum())) ** 2
    steps = [_table(part, flag, reader) for part, flag in zip(schema.steps, flags, strict=True)]
    details = [
        np.concatenate([n_tokens[place, None], reader.take(part.size)])
        for place, part in enumerate(schema.details)
    ]
    return StepNumbers(counts, floats, partials, scalars, gradients, steps, details)


def most_numbers(schema: Schema) -> int:
    """Return how many numbers a packed step has at most."""
    n_parameters = len(schema.plan.group_of)
    steps = sum(
        (STEP_ROWS - BETA2 + 1) * len(part.places) + (_SAMPLED + 1) * sum(part.sample.n_rows)
        for part in schema.steps
    )
    details = sum(1 + part.size for part in schema.details)
    scalars = len(schema.floats) + len(schema.scalars)
    gradients = 2 * n_parameters * schema.has_gradients
    return len(schema.plan.sites) * (1 + COLUMNS) + scalars + gradients + steps + details


def _flags(step: OptimizerStep) -> Numbers:
    """Return β2 of each parameter, 0 where it has no second moments, and what there was of each."""
    beta2 = np.zeros(len(step.has_moment))
    beta2[step.has_moment] = step.beta2
    moment = step.has_moment - 1.0 * step.hides_moment
    return np.concatenate([beta2, step.has_gradient, step.has_previous, moment])


def _table(part: StepPart, flags: Numbers, reader: _Reader) -> Numbers:
    """Return an optimizer's table, sums scaled from the sample to all elements."""
    table = np.zeros((STEP_ROWS, len(part.places)))
    table[BETA2:] = flags
    rows = sum(part.sample.n_rows)
    norms, products = reader.take(_SAMPLED, rows), reader.take(1, rows)
    table[: PRODUCT + 1] = part.sample.sums(np.concatenate([norms**2, products]))
    has_moment = table[HAS_MOMENT] > 0
    table[STEPS, has_moment] = reader.take(int(has_moment.sum()))
    return table
