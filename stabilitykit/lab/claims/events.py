"""Measures of when something happened in a run."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from stabilitykit.errors import closest
from stabilitykit.lab.claims.evidence import Evidence
from stabilitykit.lab.claims.measures import Averaging, at, never
from stabilitykit.lab.claims.readings import SiteReading
from stabilitykit.lab.sweep.compare.intervals import Bracket
from stabilitykit.lab.sweep.grid import SweepRun
from stabilitykit.lab.validation import Config, refusal
from stabilitykit.records import KINDS


class Crossing(SiteReading):
    """Step from which on a reading is below, or above, a level for some readings in a row.

    A run in which that does not happen has it after its end, if at all.
    """

    below: float | None = None
    """Level under which it must be."""
    above: float | None = None
    """Level over which it must be."""
    for_: int = Field(1, gt=0)
    """Readings in a row; the step is that of the first of them."""

    @model_validator(mode="after")
    def _has_one_level(self) -> Self:
        if (self.below is None) == (self.above is None):
            raise refusal("below", "one of below and above is required")
        return self

    @property
    def averaging(self) -> Averaging:
        """Steps are averaged as they are."""
        return "linear"

    @property
    def unit(self) -> str:
        """Steps."""
        return "steps"

    def of(self, evidence: Evidence, run: SweepRun) -> Bracket | None:
        """Return the step, or None where there are no such readings."""
        steps, values = self.series(evidence, run)
        if not len(steps):
            return None
        out = values < self.below if self.below is not None else values > (self.above or 0.0)
        if len(out) < self.for_:
            return never(run)
        whole = np.lib.stride_tricks.sliding_window_view(out, self.for_).all(axis=1)
        if not whole.any():
            return never(run)
        first = int(whole.argmax())
        # Between two readings it may have happened at any step.
        return Bracket(float(steps[first - 1]) if first else -1.0, float(steps[first]), float(steps[first]))


class IncidentStep(Config):
    """Step of the first incident of a kind. A run without one has it after its end, if at all."""

    incident: str
    """Its kind, or ``any``."""
    site: str = "*"
    """Pattern of its site."""
    at: Literal["detected", "start"] = "detected"
    """When it was announced, or the first step outside the band."""

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.incident not in (*KINDS, "any"):
            raise refusal("incident", f"got {self.incident!r}; {closest(self.incident, (*KINDS, 'any'))}")
        return self

    @property
    def averaging(self) -> Averaging:
        """Steps are averaged as they are."""
        return "linear"

    @property
    def unit(self) -> str:
        """Steps."""
        return "steps"

    def of(self, evidence: Evidence, run: SweepRun) -> Bracket:
        """Return the step."""
        steps = [
            each.detected if self.at == "detected" else each.start
            for each in (run.result.incidents if run.result else ())
            if self.incident in (each.kind, "any") and fnmatchcase(each.site, self.site)
        ]
        return at(min(steps)) if steps else never(run)


@dataclass(frozen=True)
class Lead:
    """Steps from one event to another; below zero where the other came first.

    Where one of them did not happen by the run's end, nothing bounds the number on its side; where neither
    did, the run says nothing.
    """

    event: Crossing | IncidentStep
    """The one that is said to come first."""
    until: Crossing | IncidentStep
    """The other."""
    averaging: Averaging = "linear"
    unit: str = "steps"

    def of(self, evidence: Evidence, run: SweepRun) -> Bracket | None:
        """Return the steps between them, or None where neither happened."""
        event, until = self.event.of(evidence, run), self.until.of(evidence, run)
        if event is None or until is None or (np.isinf(event.high) and np.isinf(until.high)):
            return None
        return Bracket(until.low - event.high, until.value - event.value, until.high - event.low)
