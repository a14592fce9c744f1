"""What a running probe has shown so far: cheap to add to, read only when something is drawn."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stabilitykit.records import Incident, IncidentChange, StepRecord

if TYPE_CHECKING:
    from stabilitykit.lab.probe import ProbePlan

LOSS = "train/loss"
UNIGRAM = "train/unigram_cross_entropy"
MAX_BINS = 256
"""Stretches of steps that the loss curve is kept in: more than a terminal has columns for."""


@dataclass(slots=True)
class Stretch:
    """The loss over a few neighbouring steps."""

    low: float = math.inf
    high: float = -math.inf
    last: float = math.nan
    broken: bool = False
    """Whether a loss here was not finite."""

    def add(self, loss: float) -> None:
        """Take in one step's loss."""
        if math.isfinite(loss):
            self.low, self.high, self.last = min(self.low, loss), max(self.high, loss), loss
        else:
            self.broken = True

    def join(self, other: "Stretch") -> None:
        """Take in a later stretch."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.last = other.last if math.isfinite(other.last) else self.last
        self.broken = self.broken or other.broken


class Trend:
    """The loss of all steps in a fixed number of stretches, each with its extremes: no spike is lost.

    Args:
        steps: How many steps there will be, at least 1.
    """

    def __init__(self, steps: int) -> None:
        self.steps = max(1, steps)
        self.first = math.nan
        self._bins = [Stretch() for _ in range(min(self.steps, MAX_BINS))]

    def add(self, step: int, loss: float) -> None:
        """Take in the loss of one step."""
        if math.isnan(self.first) and math.isfinite(loss):
            self.first = loss
        index = step * len(self._bins) // self.steps
        self._bins[min(index, len(self._bins) - 1)].add(loss)

    def resampled(self, columns: int) -> list[Stretch]:
        """Return the run in ``columns`` stretches of equal length; those without a step yet stay empty."""
        count = len(self._bins)
        joined = []
        for column in range(columns):
            start = column * count // columns
            stretch = Stretch()
            for each in self._bins[start : max(start + 1, (column + 1) * count // columns)]:
                stretch.join(each)
            joined.append(stretch)
        return joined


@dataclass
class RunProgress:
    """A probe's plan, its newest record, the course of its loss, its incidents."""

    plan: "ProbePlan"
    clock: Callable[[], float] = time.monotonic
    record: StepRecord | None = None
    trend: Trend = field(init=False)
    incidents: dict[int, Incident] = field(default_factory=dict)
    notice: str = ""
    finished: bool = False
    """Whether training has ended, at its last step or before."""
    _began: float = field(init=False)
    _tags: tuple[str, ...] | None = None
    _loss_at: int | None = None

    def __post_init__(self) -> None:
        self.trend = Trend(self.plan.steps)
        self._began = self.clock()

    @property
    def done(self) -> int:
        """Optimizer steps finished."""
        return 0 if self.record is None else self.record.step + 1

    @property
    def elapsed(self) -> float:
        """Seconds since the plan was made known."""
        return self.clock() - self._began

    @property
    def left(self) -> float | None:
        """Seconds until the last step at the pace so far, or None before the first one."""
        return self.elapsed / self.done * (self.plan.steps - self.done) if self.done else None

    def add(self, record: StepRecord) -> None:
        """Keep the newest record and its loss; called at every step, so nothing is computed."""
        if record.tags is not self._tags:
            self._tags = record.tags
            self._loss_at = record.tags.index(LOSS) if LOSS in record.tags else None
        if self._loss_at is not None:
            self.trend.add(record.step, float(record.values[self._loss_at]))
        self.record = record

    def change(self, change: IncidentChange) -> None:
        """Keep an incident's newest state."""
        self.incidents[change.incident.id] = change.incident

    def reading(self, tag: str) -> float | None:
        """Return the newest reading of a tag, or None where it was not read."""
        return None if self.record is None else self.record.readings.get(tag)
