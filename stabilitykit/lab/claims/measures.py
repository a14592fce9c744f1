"""What can be measured of one run, and how the runs of a seed become one value."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from stabilitykit.lab.claims.evidence import Evidence, Found
from stabilitykit.lab.sweep.compare.intervals import (
    FISHER,
    LINEAR,
    LOG,
    Bracket,
    Scale,
    bracket,
    mean_bracket,
)
from stabilitykit.lab.sweep.compare.results import by_seed
from stabilitykit.lab.sweep.compare.sites import first_incidents
from stabilitykit.lab.sweep.grid import SweepRun

Averaging = Literal["linear", "log", "share", "fisher"]
"""How seeds are averaged: as they are, in the logarithm, as a share of runs, or by Fisher's z."""


@runtime_checkable
class RunMeasure(Protocol):
    """One number for each run."""

    @property
    def averaging(self) -> Averaging:
        """How seeds are averaged."""

    @property
    def unit(self) -> str:
        """Of the numbers; empty for plain ones."""

    def of(self, evidence: Evidence, run: SweepRun) -> float | Bracket | None:
        """Return the number of a run that has ended, or None where it has none."""


@dataclass(frozen=True)
class OfResult:
    """A measure that a run's result tells, without its readings."""

    unit: str
    number: Callable[[Evidence, SweepRun], float | Bracket | None]
    averaging: Averaging = "linear"

    def of(self, evidence: Evidence, run: SweepRun) -> float | Bracket | None:
        """Return the number of a run that has ended, or None where it has none."""
        return self.number(evidence, run)


def per_seed(measure: RunMeasure, evidence: Evidence, runs: Sequence[SweepRun]) -> Found:
    """Return the mean over the runs of each seed; a seed counts only where all of its runs have a number.

    Args:
        measure: What is measured.
        evidence: Of the whole sweep.
        runs: Those that a claim is about, ended or not.
    """
    values: dict[int, Bracket] = {}
    seeds = by_seed(runs)
    waiting = sum(any(run.result is None for run in mine) for mine in seeds.values())
    for seed, mine in seeds.items():
        each = [measure.of(evidence, run) for run in mine if run.result is not None]
        known = [bracket(value) for value in each if value is not None]
        if len(known) == len(mine):
            values[seed] = mean_bracket(known, scale_of(measure.averaging, known))
    note = left_out(len(seeds), waiting, len(seeds) - waiting - len(values))
    return Found(values, noted(note, open_ends(values)))


def scale_of(averaging: Averaging, values: Iterable[Bracket]) -> Scale:
    """Return where values are averaged; not in the logarithm where one of them has none."""
    if averaging == "log":
        return LOG if all(each.value > 0 for each in values) else LINEAR
    return FISHER if averaging == "fisher" else LINEAR


def at(step: int) -> Bracket:
    """Return when something happened that was seen at a step: after the one before."""
    return Bracket(step - 1.0, float(step), float(step))


def never(run: SweepRun) -> Bracket:
    """Return when something happened that did not: after the run's end, if at all."""
    steps = float(run.result.steps) if run.result else 0.0
    return Bracket(steps, steps, float("inf"))


def open_ends(values: Mapping[int, Bracket], lowest: float = -math.inf) -> str:
    """Return in how many seeds the end of the grid, or of the run, came first; empty where in none.

    Args:
        values: What each seed says.
        lowest: What a lower end is where nothing bounds it.
    """
    above = sum(each.high == math.inf for each in values.values())
    below = sum(each.low == lowest for each in values.values())
    whys = ((above, "has no upper end"), (below, "has no lower end"))
    return noted(*(f"in {count} of {len(values)} seeds it {why}" for count, why in whys if count))


def noted(*notes: str) -> str:
    """Return the notes that are not empty, once each, as one line."""
    return "; ".join(dict.fromkeys(note for note in notes if note))


def left_out(seeds: int, waiting: int, silent: int) -> str:
    """Return how many seeds say nothing, and why; empty where all do.

    Args:
        seeds: How many there are.
        waiting: Of these, those whose runs have not all ended.
        silent: Those whose runs have ended, but not all with such a number.
    """
    whys = ((waiting, "not all of their runs have ended"), (silent, "not all of their runs have the number"))
    return noted(*(f"{count} of {seeds} seeds left out, {why}" for count, why in whys if count))


def _best_loss(evidence: Evidence, run: SweepRun) -> float | None:
    best = run.result.best_loss if run.result else None
    return evidence.loss(run) if best is None else best


def _first_incident(evidence: Evidence, run: SweepRun) -> Bracket:
    incidents = first_incidents(run)
    return at(incidents[0].start) if incidents else never(run)


@dataclass(frozen=True)
class EndedAs:
    """1 for a run with one of some verdicts, 0 for another: a share of runs."""

    outcomes: tuple[str, ...]
    averaging: Averaging = "share"
    unit: str = ""

    def of(self, evidence: Evidence, run: SweepRun) -> float:
        """Return whether it ended so."""
        return float(run.result is not None and run.result.outcome in self.outcomes)


RUN_MEASURES: dict[str, OfResult] = {
    "final_loss": OfResult("nats", lambda evidence, run: evidence.loss(run)),
    "best_loss": OfResult("nats", _best_loss),
    "failed": OfResult("", lambda evidence, run: float(not evidence.stable(run)), "share"),
    "first_incident": OfResult("steps", _first_incident),
}
"""By name. The final loss counts as min(final, first), as 2309.14322 has it; a run without a best loss counts
with its first; ``failed`` is 1 for a run that is not stable; the first incident is the earliest inside the
model, and a run without one has it after its end, if at all."""
