"""How the numbers of several ranks become one step's: by the rule of each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import IntEnum

import numpy as np

from stabilitykit.observe.detail_tap import DetailPart
from stabilitykit.observe.packing import StepNumbers, unpacked
from stabilitykit.observe.partials import COLUMNS, MINIMUM, NORM, SUM
from stabilitykit.observe.schema import HAS, PRODUCT, SQUARE, STEP_ROWS, Schema, StepPart
from stabilitykit.observe.sharding import Share
from stabilitykit.observe.watched import Numbers
from stabilitykit.stats import SamplePlan
from stabilitykit.tags import REGISTRY, split


class Rule(IntEnum):
    """How a number is merged."""

    NORM = 0
    """Root of summed squares."""
    MINIMUM = 1
    MAXIMUM = 2
    SUM = 3
    MEAN = 4
    """Mean over the ranks that have it."""
    FIRST = 5
    """Equal on all ranks that have it: the first one's."""


_REDUCTIONS: dict[Rule, Callable[[Numbers], Numbers]] = {
    Rule.NORM: lambda x: np.sqrt(np.square(x).sum(0)),
    Rule.MINIMUM: lambda x: x.min(0),
    Rule.MAXIMUM: lambda x: x.max(0),
    Rule.SUM: lambda x: x.sum(0),
}
_NEUTRAL = {Rule.MINIMUM: np.inf, Rule.MAXIMUM: -np.inf}
_BY_COLUMN = {NORM: Rule.NORM, MINIMUM: Rule.MINIMUM, SUM: Rule.SUM, COLUMNS - 1: Rule.SUM}

Key = tuple[str | int, ...]
"""What a number is, the same on every rank."""


class Merge:
    """Merges the numbers of ranks; NaN stays NaN under every rule but that of the first rank's.

    Numbers of a whole parameter are the first rank's; those of a spread one add up over the first copies of
    its shards.

    Args:
        schemas: Each rank's, in the order of ranks; their plans are equal.
    """

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self.schema = _union(schemas)
        """What the merged numbers are."""
        self._schemas = schemas
        entries = dict(_entries(self.schema))
        index = {key: place for place, key in enumerate(entries)}
        keys = [[key for key, _ in _entries(each)] for each in schemas]
        self._places = [np.array([index[key] for key in each], np.intp) for each in keys]
        self._copies = [_copies(schema, each) for schema, each in zip(schemas, keys, strict=True)]
        rules = np.array(list(entries.values()), np.intp)
        self._columns = {rule: np.flatnonzero(rules == rule) for rule in Rule}
        self._empty = np.tile([_NEUTRAL.get(Rule(rule), 0.0) for rule in rules], (len(schemas), 1))
        has = np.zeros(self._empty.shape, dtype=bool)
        for row, places in zip(has, self._places, strict=True):
            row[places] = True
        self._n_having, self._first = has.sum(0), has.argmax(0)

    def __call__(self, sent: Numbers) -> StepNumbers:
        """Return the merged numbers.

        Args:
            sent: A row of numbers a rank, as a step is packed; what follows them is passed over.
        """
        table = self._empty.copy()
        ranks = zip(table, self._schemas, self._places, self._copies, sent, strict=False)
        for row, schema, places, copies, numbers in ranks:
            own = unpacked(schema, numbers).flat()
            own[copies] = 0.0
            row[places] = own
        merged = np.empty(table.shape[1])
        with np.errstate(invalid="ignore"):
            for rule, reduce in _REDUCTIONS.items():
                merged[self._columns[rule]] = reduce(table[:, self._columns[rule]])
            mean = self._columns[Rule.MEAN]
            merged[mean] = table[:, mean].sum(0) / self._n_having[mean]
        first = self._columns[Rule.FIRST]
        merged[first] = table[self._first[first], first]
        return StepNumbers.cut(self.schema, merged)


def _union(schemas: Sequence[Schema]) -> Schema:
    scalars = dict.fromkeys(tag for schema in schemas for tag in schema.scalars)
    floats = dict.fromkeys(tag for schema in schemas for tag in schema.floats if tag not in scalars)
    details: dict[str, DetailPart] = {}
    for part in (part for schema in schemas for part in schema.details):
        details.setdefault(part.site, part)
    return replace(
        schemas[0],
        floats=tuple(floats),
        scalars=tuple(scalars),
        has_gradients=any(schema.has_gradients for schema in schemas),
        has_optimizer=any(schema.has_optimizer for schema in schemas),
        has_stepped=any(schema.has_stepped for schema in schemas),
        steps=_joined_steps(schemas),
        details=tuple(details.values()),
    )


def _joined_steps(schemas: Sequence[Schema]) -> tuple[StepPart, ...]:
    """Return what all ranks' steps looked at."""
    optimizers = sorted({part.optimizer for schema in schemas for part in schema.steps})
    return tuple(_joined_step(schemas, optimizer) for optimizer in optimizers)


def _joined_step(schemas: Sequence[Schema], optimizer: int) -> StepPart:
    """Return what was looked at of an optimizer's parameters: shards added up, whole where every shard was.

    Where it took no step on some rank, or none was seen, nothing that is spread is whole.
    """
    parts = [(schema, part) for schema in schemas for part in schema.steps if part.optimizer == optimizer]
    least = 1 if len(parts) == len(schemas) else 2
    found: dict[int, tuple[int, int]] = {}
    for schema, part in parts:
        for place, size, stride in zip(part.places, part.sample.sizes, part.sample.strides, strict=True):
            share = _share(schema, place)
            if share is Share.WHOLE:
                found.setdefault(place, (size, stride))
            else:
                before = found.get(place, (0, least))
                is_first = share is Share.SHARD
                found[place] = (before[0] + size, max(before[1], stride)) if is_first else before
    places = tuple(sorted(found))
    sizes, strides = (tuple(found[place][at] for place in places) for at in range(2))
    return StepPart(optimizer, places, SamplePlan(sizes, strides), any(part.is_seen for _, part in parts))


def _share(schema: Schema, place: int) -> Share:
    return schema.shares[place] if schema.shares else Share.WHOLE


def _copies(schema: Schema, keys: Sequence[Key]) -> list[int]:
    """Return which of a rank's numbers are of shards that another rank holds as well, and counts for."""
    return [
        at
        for at, key in enumerate(keys)
        if key[0] in ("gradient", "step") and _share(schema, int(key[-1])) is Share.COPY
    ]


def _entries(schema: Schema) -> Iterator[tuple[Key, Rule]]:
    """Yield a key and a rule for every number of a schema, in the order of ``StepNumbers``."""
    n_rows, n_parameters = len(schema.plan.sites), len(schema.plan.group_of) * schema.has_gradients
    yield from ((("count", row), Rule.SUM) for row in range(n_rows))
    yield from ((("scalar", tag), _of_scalar(tag)) for tag in schema.floats)
    for row in range(n_rows):
        yield from ((("partial", row, at), _BY_COLUMN.get(at, Rule.MAXIMUM)) for at in range(COLUMNS))
    yield from ((("scalar", tag), _of_scalar(tag)) for tag in schema.scalars)
    for kind in (SQUARE, HAS):
        for place in range(n_parameters):
            yield ("gradient", kind, place), _of_parameter(schema, place, is_sum=kind == SQUARE)
    for part in schema.steps:
        for kind in range(STEP_ROWS):
            for place in part.places:
                key = ("step", part.optimizer, kind, place)
                yield key, _of_parameter(schema, place, is_sum=kind <= PRODUCT)
    for detail in schema.details:
        rule = Rule.SUM if detail.adds_up else Rule.FIRST
        yield from ((("detail", detail.site, at), rule) for at in range(1 + detail.size))


def _of_parameter(schema: Schema, place: int, is_sum: bool) -> Rule:
    if _share(schema, place) is Share.WHOLE:
        return Rule.FIRST
    return Rule.SUM if is_sum else Rule.MAXIMUM


def _of_scalar(tag: str) -> Rule:
    family = REGISTRY.get(split(tag)[0])
    return Rule.FIRST if family is not None and family.merge == "last" else Rule.MEAN
