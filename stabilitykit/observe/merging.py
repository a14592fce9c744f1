"""How the numbers of several ranks become one step's: by the rule of each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from stabilitykit.observe.partials import COLUMNS, MINIMUM, NORM, SUM
from stabilitykit.observe.schema import Schema, joined_parts
from stabilitykit.tags import REGISTRY, split

Numbers = NDArray[np.float64]


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
_BY_PART = {"scaled_gradients": Rule.SUM}


class Merge:
    """Merges the numbers of ranks; NaN stays NaN under every rule.

    Args:
        schemas: Each rank's, in the order of ranks; their plans are equal.
    """

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self.schema = _union(schemas)
        """What the merged numbers are."""
        entries = dict(_entries(self.schema))
        index = {key: place for place, key in enumerate(entries)}
        self._places = [np.array([index[key] for key, _ in _entries(each)], np.intp) for each in schemas]
        rules = np.array(list(entries.values()), np.intp)
        self._columns = {rule: np.flatnonzero(rules == rule) for rule in Rule}
        self._empty = np.tile([_NEUTRAL.get(Rule(rule), 0.0) for rule in rules], (len(schemas), 1))
        has = np.zeros(self._empty.shape, dtype=bool)
        for row, places in zip(has, self._places, strict=True):
            row[places] = True
        self._n_having, self._first = has.sum(0), has.argmax(0)

    def __call__(self, sent: Numbers) -> Numbers:
        """Return the merged numbers.

        Args:
            sent: A row of numbers a rank, in the order of its schema; what follows them is passed over.
        """
        table = self._empty.copy()
        for row, places, numbers in zip(table, self._places, sent, strict=False):
            row[places] = numbers[: len(places)]
        merged = np.empty(table.shape[1])
        with np.errstate(invalid="ignore"):
            for rule, reduce in _REDUCTIONS.items():
                merged[self._columns[rule]] = reduce(table[:, self._columns[rule]])
            mean = self._columns[Rule.MEAN]
            merged[mean] = table[:, mean].sum(0) / self._n_having[mean]
        first = self._columns[Rule.FIRST]
        merged[first] = table[self._first[first], first]
        return merged


def _union(schemas: Sequence[Schema]) -> Schema:
    scalars = dict.fromkeys(tag for schema in schemas for tag in schema.scalars)
    floats = dict.fromkeys(tag for schema in schemas for tag in schema.floats if tag not in scalars)
    return replace(
        schemas[0],
        floats=tuple(floats),
        scalars=tuple(scalars),
        parts=joined_parts(schemas),
        corrected=any(schema.corrected for schema in schemas),
    )


def _entries(schema: Schema) -> Iterator[tuple[tuple[str | int, ...], Rule]]:
    """Yield a key and a rule for every number of a schema, in its order."""
    n_rows = len(schema.plan.sites)
    yield from ((("count", row), Rule.SUM) for row in range(n_rows))
    yield from ((("scalar", tag), _of_scalar(tag)) for tag in schema.floats)
    for row in range(n_rows):
        yield from (((row, at), _BY_COLUMN.get(at, Rule.MAXIMUM)) for at in range(COLUMNS))
    yield from ((("scalar", tag), _of_scalar(tag)) for tag in schema.scalars)
    for part in schema.parts:
        yield from (((part.what, group), _BY_PART.get(part.what, Rule.NORM)) for group in part.groups)
    if schema.corrected:
        yield ("correction",), Rule.FIRST


def _of_scalar(tag: str) -> Rule:
    family = REGISTRY.get(split(tag)[0])
    return Rule.FIRST if family is not None and family.merge == "last" else Rule.MEAN
