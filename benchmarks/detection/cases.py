"""Made-up runs of known truth: a log, where its events lie, and how it ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np

from benchmarks.detection.log import Log, Places, Values

Truth = Literal["healthy", "spiky", "divergent"]


@dataclass(frozen=True)
class Event:
    """Something that a detector should announce; places are rows of the log."""

    first: int
    last: int
    open: bool = False
    """Whether the run does not come back from it."""


@dataclass(frozen=True, eq=False)
class Case:
    """A made-up run."""

    log: Log
    events: tuple[Event, ...] = ()
    ignore: tuple[tuple[int, int], ...] = ()
    """Stretches, in rows, of which the truth is silent."""

    @property
    def truth(self) -> Truth:
        """How the run went."""
        if any(event.open for event in self.events):
            return "divergent"
        return "spiky" if self.events else "healthy"


Family = Callable[[np.random.Generator], Case]

FAMILIES: dict[str, Family] = {}
"""All families by name, in the order of the tables."""


def family(name: str) -> Callable[[Family], Family]:
    """Register a family under a name."""

    def register(make: Family) -> Family:
        FAMILIES[name] = make
        return make

    return register


def generate(name: str, seed: int) -> Case:
    """Return one run of a family; the same for the same name and seed."""
    return FAMILIES[name](np.random.default_rng([crc32(name.encode()), seed]))


def case(loss: Values, *events: Event, steps: Places | None = None, **columns: Values) -> Case:
    """Return a case of a loss, logged at every step unless the steps are given.

    Args:
        loss: One value a row.
        events: What happens.
        steps: The steps.
        columns: Further columns of the log.
    """
    at = np.arange(len(loss)) if steps is None else steps
    return Case(Log(at, loss, **columns), events)
