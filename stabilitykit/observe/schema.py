"""What the numbers of one step are, and in which order they stand."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from stabilitykit.observe.partials import COLUMNS
from stabilitykit.observe.site import Layout, Site


@dataclass(frozen=True, slots=True)
class Part:
    """Numbers of one kind, one a group of parameters, such as the norms of gradients."""

    what: str
    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    """Elements behind each number."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a layout says about every step's numbers."""

    sites: tuple[Site, ...] = field(compare=False)
    """The sites behind the rows of partials."""
    order: Mapping[str, int] = field(compare=False)
    """Place of each group and of each norm with a gain."""
    digest: str
    """Equal where sites, groups and gains are."""

    @classmethod
    def of(cls, layout: Layout) -> "Plan":
        """Return the plan of a layout."""
        names = dict.fromkeys((*layout.groups, *layout.gains))
        text = repr((layout.sites, sorted(layout.groups.items()), sorted(layout.gains.items())))
        digest = hashlib.sha256(text.encode()).hexdigest()
        return cls(layout.sites, {name: place for place, name in enumerate(names)}, digest)


@dataclass(frozen=True, slots=True)
class Schema:
    """The order of a step's numbers: counts, floats, partials, scalars, parts, correction.

    The first two never were on the device.
    """

    plan: Plan
    floats: tuple[str, ...] = ()
    """Tags of the scalars that never were on the device."""
    scalars: tuple[str, ...] = ()
    """Tags of the scalars that were."""
    parts: tuple[Part, ...] = ()
    corrected: bool = False
    """Whether the last number is the bias correction of the second moments."""

    @property
    def lengths(self) -> list[int]:
        """How many numbers of each sort there are, in their order."""
        n_rows = len(self.plan.sites)
        parts = [len(part.groups) for part in self.parts]
        return [n_rows, len(self.floats), n_rows * COLUMNS, len(self.scalars), *parts, int(self.corrected)]

    @property
    def size(self) -> int:
        """How many numbers there are in all."""
        return sum(self.lengths)

    def cut(self, numbers: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return the numbers of each sort, in their order."""
        ends = list(accumulate(self.lengths))
        return [numbers[end - length : end] for end, length in zip(ends, self.lengths, strict=True)]


def joined_parts(schemas: Sequence[Schema]) -> tuple[Part, ...]:
    """Return the parts of some schemas as one: groups in the plan's order, sizes added up."""
    sizes: dict[str, dict[str, int]] = {}
    for schema in schemas:
        for part in schema.parts:
            found = sizes.setdefault(part.what, {})
            for group, size in zip(part.groups, part.sizes, strict=True):
                found[group] = found.get(group, 0) + size
    order = schemas[0].plan.order
    parts = []
    for what, found in sizes.items():
        groups = tuple(sorted(found, key=order.__getitem__))
        parts.append(Part(what, groups, tuple(found[group] for group in groups)))
    return tuple(parts)
