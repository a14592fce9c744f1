"""What a recipe claims of its sweep, read and checked against the plan before anything runs."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from pydantic import Field, model_validator

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.claims.band import Banded
from stabilitykit.lab.claims.parsing import Measure, python_words, read_measure
from stabilitykit.lab.claims.sets import Correlation
from stabilitykit.lab.sweep.compare.results import is_number
from stabilitykit.lab.sweep.grid import Axis, SweepPlan, SweepRun, read_axis
from stabilitykit.lab.validation import refusal, validated

Selection = Mapping[str, tuple[Any, ...]]
"""Which values of some axes; of the others all."""


class ClaimSpec(Banded):
    """A claim as a recipe has it."""

    says: str = Field(min_length=1)
    """One sentence."""
    measure: str | dict[str, Any]
    """What is measured: a name, or a mapping as ``read_measure`` takes it."""
    where: dict[str, Any] = Field(default_factory=dict)
    """The runs: a value, or a list of values, by axis. Over the other axes a seed's runs are averaged."""
    minus: dict[str, Any] | None = None
    """Runs whose number is taken off, seed by seed."""
    over: dict[str, Any] | None = None
    """Runs by whose number is divided, seed by seed."""
    with_: dict[str, Any] | None = None
    """Runs that the others are correlated with, seed by seed."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if sum(side is not None for side in (self.minus, self.over, self.with_)) > 1:
            raise refusal("minus", "only one of minus, over and with is accepted")
        return self


@dataclass(frozen=True)
class Claim:
    """A claim that fits its plan."""

    spec: ClaimSpec
    measure: Measure
    where: Selection
    against: Selection | None
    """Of ``minus``, ``over`` or ``with``."""


def check_claims(plan: SweepPlan) -> tuple[Claim, ...]:
    """Return the claims of a plan.

    Args:
        plan: A sweep's.

    Raises:
        ConfigError: A claim cannot be read, or names an axis or a value that the plan does not have; names
            the claim's number, counted from 1, the field, and what is accepted.
    """
    return tuple(_read(plan, given, f"claim {number}") for number, given in enumerate(plan.claims, start=1))


def fitting_claims(plan: SweepPlan) -> tuple[Mapping[str, Any], ...]:
    """Return those claims of a plan, as it has them, that fit its axes: of a recipe whose axes were changed.

    Args:
        plan: A sweep's.
    """
    return tuple(claim for claim in plan.claims if _fits(replace(plan, claims=(claim,))))


def _fits(plan: SweepPlan) -> bool:
    try:
        check_claims(plan)
    except ConfigError:
        return False
    return True


def selected(runs: Iterable[SweepRun], selection: Selection) -> list[SweepRun]:
    """Return the runs with the values of a selection."""
    return [
        run for run in runs if all(run.cell.values.get(axis) in values for axis, values in selection.items())
    ]


def _read(plan: SweepPlan, given: Mapping[str, Any], name: str) -> Claim:
    try:
        spec = validated(ClaimSpec, python_words(given), name)
        measure = read_measure(spec.measure, f"{name}.measure")
    except ConfigError as error:
        # Fields that Python has other words for, in the recipe's own words.
        raise ConfigError(re.sub(r"\b(for|with|in)_\b", r"\1", str(error))) from None
    sides = {"where": spec.where, "minus": spec.minus, "over": spec.over, "with": spec.with_}
    read = {
        side: _selection(plan, values, f"{name}.{side}")
        for side, values in sides.items()
        if values is not None
    }
    for side, selection in read.items():
        _check_axis(plan, measure, selection, f"{name}.{side}")
    against = next((read[side] for side in ("minus", "over", "with") if side in read), None)
    _check_sides(plan, spec, measure, (read["where"], against), name)
    return Claim(spec, measure, read["where"], against)


def _selection(plan: SweepPlan, given: Mapping[str, Any], where: str) -> Selection:
    axes = {axis.name: axis for axis in plan.axes}
    found: dict[str, tuple[Any, ...]] = {}
    for name, values in given.items():
        if name not in axes:
            raise ConfigError(f"{where}.{name}: not an axis of the sweep; {closest(name, axes)}")
        each = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
        found[name] = tuple(_value(axes[name], value, f"{where}.{name}") for value in each)
        if not found[name]:
            raise ConfigError(f"{where}.{name}: holds no value; accepted: {_shown(axes[name])}")
    return found


def _value(axis: Axis, given: Any, where: str) -> Any:
    """Return the axis's own value; YAML reads 1e-2 as a text, and labels are texts."""
    candidates = [given, str(given)] if not isinstance(given, str) else [given, *_parsed(given)]
    for candidate in candidates:
        for value in axis.values:
            if value == candidate and isinstance(value, bool) == isinstance(candidate, bool):
                return value
    raise ConfigError(f"{where}: got {given!r}; the axis has {_shown(axis)}")


def _parsed(text: str) -> tuple[Any, ...]:
    try:
        return read_axis("value", text).values
    except ConfigError:
        return ()


def _check_axis(plan: SweepPlan, measure: Measure, selection: Selection, where: str) -> None:
    """Refuse a measure along an axis of which the runs have no two numbers."""
    along = getattr(measure, "axis", None)
    if along is None:
        return
    axis = next((axis for axis in plan.axes if axis.name == along), None)
    values = selection.get(along, axis.values if axis else ())
    if len(values) < 2 or not all(is_number(value) and value > 0 for value in values):
        raise ConfigError(
            f"{where}: {along} must be an axis with two or more numbers above 0 among these runs; "
            f"got {', '.join(map(str, values)) or 'no such axis'}"
        )


def _check_sides(
    plan: SweepPlan,
    spec: ClaimSpec,
    measure: Measure,
    sides: tuple[Selection, Selection | None],
    name: str,
) -> None:
    if isinstance(measure, Correlation) != (spec.with_ is not None):
        raise ConfigError(f"{name}.with: is for the measure correlation, and required there")
    if spec.over is not None and measure.averaging in ("share", "fisher"):
        raise ConfigError(f"{name}.over: {spec.measure} can be 0; compare it with minus")
    if isinstance(measure, Correlation):
        for side, selection in zip(("where", "with"), sides, strict=True):
            loose = [
                axis.name for axis in plan.axes if len((selection or {}).get(axis.name, axis.values)) > 1
            ]
            if loose:
                raise ConfigError(
                    f"{name}.{side}.{loose[0]}: must be one value; a correlation is of two runs"
                )


def _shown(axis: Axis) -> str:
    return ", ".join(map(str, axis.values))
