"""A recipe of costs: workloads that are priced, and what is claimed of them."""

from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.claims.band import Banded
from stabilitykit.lab.cost.request import CostRequest
from stabilitykit.lab.probe.spec import naming, read_recipe
from stabilitykit.lab.validation import Config, refusal, validated

Measure = Literal[
    "time", "time_share", "flops", "flops_share", "bytes", "bytes_share", "step", "memory", "parameters"
]
MEASURES: tuple[Measure, ...] = get_args(Measure)
TIMED: tuple[Measure, ...] = ("time", "time_share", "step")
"""Measures that take a run."""
_WHOLE: tuple[Measure, ...] = ("step", "memory", "parameters")
"""Measures of the model as a whole."""


class Quantity(Config):
    """One number of one variant."""

    measure: Measure
    """Seconds of kernels (``time``), FLOPs or bytes, each also as a share of the model's; seconds of a whole
    step without the profiler; bytes of memory; parameters."""
    of: str | tuple[str, ...] = ()
    """Classes or operations, whose names may hold ``*``; all unless given."""
    variant: str | None = None
    """By its label; the first unless given."""

    @model_validator(mode="after")
    def _is_of_parts(self) -> Self:
        if self.of and self.measure in _WHOLE:
            raise refusal("of", f"got {self.of!r}; {self.measure} is of the whole model and takes none")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Classes and operations; none for all."""
        return (self.of,) if isinstance(self.of, str) else self.of


class CostClaim(Quantity, Banded):
    """A claim as a recipe has it."""

    says: str = Field(min_length=1)
    """One sentence."""
    workload: str
    """The name of one."""
    over: dict[str, Any] | None = None
    """What it is divided by, round by round: ``measure``, ``of`` and ``variant`` where they differ."""

    @property
    def divisor(self) -> Quantity | None:
        """What it is divided by.

        Raises:
            ConfigError: It cannot be read.
        """
        if self.over is None:
            return None
        own = {"measure": self.measure, "of": self.of, "variant": self.variant}
        return validated(Quantity, own | self.over, "over")

    @property
    def is_timed(self) -> bool:
        """Whether it takes a run to judge it."""
        return any(each.measure in TIMED for each in (self, self.divisor) if each is not None)


class CostRecipe(Config):
    """Workloads, and what is claimed of them."""

    question: str = Field(min_length=1)
    """What they answer."""
    source: str = ""
    """Who says so."""
    band: str = ""
    """How the bands were chosen."""
    cpu_minutes: float | None = Field(None, gt=0)
    """About how long it takes one core."""
    workloads: dict[str, CostRequest] = Field(min_length=1)
    """By name."""
    claims: tuple[CostClaim, ...] = Field(min_length=1)
    """At least one."""


def read_cost_recipe(path: Path) -> CostRecipe:
    """Return a recipe of costs.

    Args:
        path: YAML file.

    Raises:
        ConfigError: It cannot be read; names the file, the field, what was got and what is accepted.
    """
    fields = read_recipe(path)
    if "axes" in fields:
        raise ConfigError(f"{path}: axes: is of a sweep; run it as stabilitykit sweep {path}")
    with naming(path):
        workloads = fields.get("workloads")
        if isinstance(workloads, dict):
            # Each on its own, so that messages begin with its name.
            fields["workloads"] = {str(name): _workload(str(name), each) for name, each in workloads.items()}
        recipe = validated(CostRecipe, fields, where="")
        for n, claim in enumerate(recipe.claims, start=1):
            if claim.workload not in recipe.workloads:
                known = closest(claim.workload, recipe.workloads)
                raise ConfigError(f"claim {n}: workload: got {claim.workload!r}; {known}")
            try:
                _ = claim.divisor
            except ConfigError as error:
                raise ConfigError(f"claim {n}: {error}") from None
    return recipe


def _workload(name: str, fields: object) -> CostRequest:
    try:
        return validated(CostRequest, fields, f"workloads.{name}")
    except ConfigError as error:
        # What is an option there is a field here.
        raise ConfigError(str(error).replace(f"workloads.{name}.--", f"workloads.{name}.")) from None
