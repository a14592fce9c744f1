"""What the numbers of one step are, and in which order they stand."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from stabilitykit.observe.detail_tap import DetailPart
from stabilitykit.observe.partials import COLUMNS
from stabilitykit.observe.sharding import Share
from stabilitykit.observe.site import Layout, Site
from stabilitykit.observe.watched import Watched
from stabilitykit.stats import SamplePlan

UPDATE, WEIGHT, GRADIENT, PREVIOUS, SCALED, PRODUCT = range(6)
"""Rows of a step's table that add up over shards: squares, and the product of the last two gradients."""
STEPS, BETA2, HAS_GRADIENT, HAS_PREVIOUS, HAS_MOMENT = range(6, 11)
"""Rows that are the same wherever a parameter is: Adam's count of steps and β2, and what there was.

Steps are NaN of what proved to be no second moment; -1 of the last row is a moment that cannot be read."""
STEP_ROWS = 11

SQUARE, HAS = range(2)
"""Rows of the gradients' table: squared norm, and whether there was a gradient."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a layout says about every step's numbers."""

    sites: tuple[Site, ...] = field(compare=False)
    """The sites behind the rows of partials."""
    groups: tuple[str, ...] = field(compare=False)
    group_of: NDArray[np.intp] = field(compare=False)
    """The place in ``groups`` of each watched parameter's group."""
    gains: Mapping[str, int] = field(compare=False)
    """The place of each norm's gain among the watched parameters."""
    renamed: Mapping[str, str] = field(compare=False)
    """Conventional names of renamed sites."""
    digest: str
    """Equal where sites, groups and gains are."""

    @classmethod
    def of(cls, layout: Layout, watched: Watched, gains: Mapping[str, nn.Parameter]) -> "Plan":
        """Return the plan of a layout.

        Args:
            layout: The layout.
            watched: The parameters of its groups.
            gains: Gain parameter by norm; those that are not watched, since not trained, are left out.
        """
        sites = [
            (site.key, site.module, site.role, site.side, site.call, site.caller, site.place)
            for site in layout.sites
        ]
        text = repr((sites, list(layout.groups.items()), list(layout.gains.items())))
        places = {id(p): place for place, p in enumerate(watched.parameters)}
        return cls(
            layout.sites,
            watched.groups,
            watched.group_of,
            {norm: places[id(p)] for norm, p in gains.items() if id(p) in places},
            layout.renamed,
            hashlib.sha256(text.encode()).hexdigest(),
        )


@dataclass(frozen=True)
class StepPart:
    """Of which parameters an optimizer's step left numbers."""

    optimizer: int
    """Number of the optimizer."""
    places: tuple[int, ...]
    """Places of its parameters among the watched ones."""
    sample: SamplePlan
    """Which elements of them were looked at."""
    is_seen: bool = True
    """Whether an optimizer has stepped for sure; else something has, if any weight has moved."""

    @cached_property
    def place_of(self) -> NDArray[np.intp]:
        """``places`` as an index."""
        return np.array(self.places, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Schema:
    """The order of a step's numbers.

    Which parameters had a gradient, second moments and so on is told by numbers, so that a schema stays the
    same where that changes.
    """

    plan: Plan
    floats: tuple[str, ...] = ()
    """Tags of the scalars that never were on the device."""
    scalars: tuple[str, ...] = ()
    """Tags of the scalars that were."""
    has_gradients: bool = False
    """Whether gradients were read."""
    has_optimizer: bool = False
    """Whether an optimizer's steps are seen at all."""
    has_stepped: bool = False
    """Whether an optimizer has stepped."""
    steps: tuple[StepPart, ...] = ()
    """The optimizers that took a step."""
    details: tuple[DetailPart, ...] = ()
    shares: tuple[Share, ...] = ()
    """What this process holds of each watched parameter; empty where it is alone."""

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the numbers of each sort, in the order of ``StepNumbers``."""
        n_rows = len(self.plan.sites)
        return [
            (n_rows,),
            (len(self.floats),),
            (n_rows, COLUMNS),
            (len(self.scalars),),
            (2, len(self.plan.group_of) * self.has_gradients),
            *((STEP_ROWS, len(part.places)) for part in self.steps),
            *((1 + part.size,) for part in self.details),
        ]
