"""What a sweep is asked to do: fields that stay, axes that vary, seeds, and what is claimed of the result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.probe.spec import ProbeSpec, naming, read_recipe, spec_of
from stabilitykit.lab.sweep.grid.axes import Axis, read_axis, read_seeds
from stabilitykit.lab.sweep.grid.cell import Cell

NAME = "sweep"
"""What a sweep is called that has no recipe."""
DEFAULT_AXES: Mapping[str, Any] = {
    "arch": ["post_norm", "pre_norm", "double_norm"],
    "schedule.warmup": [0, 30],
    "optimizer.lr": "1e-3:1:13",
}
"""What varies where nothing else is asked for; pre-norm first fails above a learning rate of 0.1."""
RESOLUTION = 2**0.25
"""How close a bisection comes where nothing else is asked for: within 19 %."""
_ABOUT = ("question", "source", "band", "cpu_minutes")


@dataclass(frozen=True)
class SweepPlan:
    """A grid of probes."""

    name: str = NAME
    """What it is called: the recipe's file, without its ending."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every probe, nested, as a probe's recipe has them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further ones by their dotted path; these win over ``fields``."""
    axes: tuple[Axis, ...] = ()
    """What varies, the slowest first."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of weights and data order: every combination is trained with each."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What a recipe says of itself: question, source, band, cpu_minutes."""
    claims: tuple[Mapping[str, Any], ...] = ()
    """What is claimed of the result, as the recipe has it."""
    bisect: str | None = None
    """The axis between whose ends the largest value that holds is searched for; None for the whole grid."""
    resolution: float = RESOLUTION
    """Ratio of the first value that fails to the last that holds, at which a bisection ends."""
    _made: dict[tuple[Any, ...], Cell] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Cells that were asked for before: a bisection goes over its cells whenever one has ended."""

    def cells(self) -> tuple[Cell, ...]:
        """Return every cell, in the order of the axes, seeds fastest.

        Raises:
            ConfigError: A cell's configuration is refused; names its values.
        """
        return tuple(self.cell(values, seed) for values in self.settings_grid() for seed in self.seeds)

    def settings_grid(self) -> Iterator[Mapping[str, Any]]:
        """Yield the values of every combination by the axes' names."""
        for values in product(*(axis.values for axis in self.axes)):
            yield {axis.name: value for axis, value in zip(self.axes, values, strict=True)}

    def cell(self, values: Mapping[str, Any], seed: int) -> Cell:
        """Return one cell.

        Args:
            values: Value or label by the axis's name.
            seed: Of weights and data order.

        Raises:
            ConfigError: Its configuration is refused; names the values.
        """
        name = (*values.items(), seed)
        if name not in self._made:
            self._made[name] = self._make(values, seed)
        return self._made[name]

    def _make(self, values: Mapping[str, Any], seed: int) -> Cell:
        by_name = {axis.name: axis for axis in self.axes}
        settings = dict(self.settings) | {"seed": seed}
        for name, value in values.items():
            # A value between those of the axis, as a bisection takes, sets the axis's own field.
            settings |= by_name[name].settings.get(value, {name: value})
        arch = settings.pop("arch", self.fields.get("arch"))
        if arch is None:
            raise ConfigError(
                "arch: is required, as --arch A,B or in the recipe; try --arch pre_norm,post_norm"
            )
        try:
            return Cell(dict(values), spec_of(str(arch), self.fields, settings))
        except ConfigError as error:
            shown = ", ".join(f"{name}={value}" for name, value in values.items())
            raise ConfigError(f"{error} (in the cell {shown})" if shown else str(error)) from None

    def with_axes(self, given: Mapping[str, Any]) -> "SweepPlan":
        """Return the plan with axes in place of those of the same name, or beside them.

        Args:
            given: What varies, as ``read_axis`` takes it.

        Raises:
            ConfigError: An axis cannot be read.
        """
        axes = {axis.name: axis for axis in self.axes}
        for name, values in given.items():
            axes[name] = read_axis(name, values)
        return replace(self, axes=tuple(axes.values()))

    def without(self, axis: str) -> "SweepPlan":
        """Return the plan without an axis."""
        return replace(self, axes=tuple(each for each in self.axes if each.name != axis))

    def ends(self, axis: str) -> tuple[float, float]:
        """Return the lowest and the highest value of an axis of numbers above 0.

        Raises:
            ConfigError: There is no such axis, or it is not one between whose ends one can search.
        """
        by_name = {each.name: each for each in self.axes}
        if axis not in by_name:
            raise ConfigError(f"bisect: got {axis!r}, which does not vary; {closest(axis, by_name)}")
        values = by_name[axis].values
        numbers = [float(value) for value in values if isinstance(value, int | float) and value > 0]
        if len(numbers) < len(values) or len(numbers) < 2:
            raise ConfigError(f"bisect: {axis}: got {list(values)}; must hold two or more numbers above 0")
        return min(numbers), max(numbers)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data, from which ``from_json`` makes the same cells."""
        return {
            "name": self.name,
            "fields": dict(self.fields),
            "settings": dict(self.settings),
            "axes": [
                [axis.name, [[value, dict(s)] for value, s in axis.settings.items()]] for axis in self.axes
            ],
            "seeds": list(self.seeds),
            "about": dict(self.about),
            "claims": [dict(claim) for claim in self.claims],
            "bisect": self.bisect,
            "resolution": self.resolution,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "SweepPlan":
        """Return the plan that ``to_json`` wrote."""
        axes = tuple(Axis(name, dict(settings)) for name, settings in document["axes"])
        return cls(
            name=document["name"],
            fields=document["fields"],
            settings=document["settings"],
            axes=axes,
            seeds=tuple(document["seeds"]),
            about=document["about"],
            claims=tuple(document["claims"]),
            bisect=document["bisect"],
            resolution=document["resolution"],
        )


def read_plan(path: Path) -> SweepPlan:
    """Return the sweep of a recipe: a probe's recipe with ``axes``, ``seeds``, ``claims``.

    Args:
        path: YAML file.

    Raises:
        ConfigError: It cannot be read, or something in it is refused.
    """
    document = read_recipe(path)
    with naming(path):
        axes = document.pop("axes", None)
        if not isinstance(axes, Mapping) or not axes:
            raise ConfigError("axes: is required in a sweep's recipe, as in axes: {optimizer.lr: 1e-3:1:13}")
        seeds, claims = read_seeds(document.pop("seeds", 3)), document.pop("claims", [])
        about = {word: document.pop(word) for word in _ABOUT if word in document}
        known = [*ProbeSpec.model_fields, "axes", "seeds", "claims", *_ABOUT]
        for name in document:
            if name not in ProbeSpec.model_fields:
                raise ConfigError(f"{name}: not a known field; {closest(name, known)}")
        if not isinstance(claims, Sequence) or not all(isinstance(claim, Mapping) for claim in claims):
            raise ConfigError(f"claims: got {claims!r:.60}; must be a list of mappings")
        return SweepPlan(
            name=path.stem,
            fields=document,
            axes=tuple(read_axis(str(name), values) for name, values in axes.items()),
            seeds=seeds,
            about=about,
            claims=tuple(claims),
        )
