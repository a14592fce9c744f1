"""Scores on made-up runs, whose truth is exact."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.detection.cases import Case, Event
from benchmarks.detection.log import Said

COUNTED = ("loss_spike", "divergence", "stuck", "nonfinite")
"""Kinds of incidents that speak of the loss."""

TOLERANCE = 3
"""Points by which an incident may miss an event at either side."""
FAR = 15
"""Points by which an incident may reach beyond an event shorter than that."""

RIGHT = {
    "healthy": ("stable", "recovered"),
    "spiky": ("recovered",),
    "divergent": ("diverged", "stuck"),
}
"""Which verdicts are right for how a run went; of a healthy one, only if there was no false alarm."""


@dataclass(frozen=True)
class Found:
    """An incident in rows of the log."""

    start: int
    end: int
    detected: int


@dataclass
class Counts:
    """What a tool got right and wrong; adds up over runs."""

    events: int = 0
    hits: int = 0
    false: int = 0
    healthy: int = 0
    """Points at which an incident would be false."""
    delays: list[int] = field(default_factory=list)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How runs went, with what was said of them."""
    right: int = 0
    """Runs whose verdict is right."""
    full: int = 0
    """Runs in which every event was hit."""
    clean: int = 0
    """Runs in which every event was hit and nothing was a false alarm."""

    def __iadd__(self, other: "Counts") -> "Counts":
        self.events += other.events
        self.hits += other.hits
        self.false += other.false
        self.healthy += other.healthy
        self.delays += other.delays
        self.verdicts.update(other.verdicts)
        self.right += other.right
        self.full += other.full
        self.clean += other.clean
        return self

    @property
    def recall(self) -> float:
        """Share of the events that were hit; NaN without events."""
        return self.hits / self.events if self.events else math.nan

    @property
    def precision(self) -> float:
        """Hits among hits and false alarms; NaN where nothing was announced."""
        return self.hits / (self.hits + self.false) if self.hits + self.false else math.nan

    @property
    def false_per_10k(self) -> float:
        """False alarms per 10,000 healthy points."""
        return 1e4 * self.false / max(1, self.healthy)

    @property
    def median_delay(self) -> float:
        """Median points from an event's first to its announcement; NaN without hits."""
        return statistics.median(self.delays) if self.delays else math.nan

    @property
    def runs(self) -> int:
        """Runs counted."""
        return self.verdicts.total()

    @property
    def verdicts_right(self) -> float:
        """Share of runs whose verdict is right."""
        return self.right / self.runs if self.runs else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return the figures, as plain JSON types; what is no number is null."""
        names = ("recall", "precision", "false_per_10k", "median_delay", "verdicts_right")
        values = {name: getattr(self, name) for name in names}
        return {
            **{name: None if math.isnan(value) else value for name, value in values.items()},
            **{name: getattr(self, name) for name in ("runs", "events", "hits", "false", "healthy", "clean")},
            "verdicts": {f"{truth} → {verdict}": n for (truth, verdict), n in sorted(self.verdicts.items())},
        }


def count(case: Case, said: Said) -> Counts:
    """Return the counts of one run.

    - An event is hit by at most one incident, the earliest announced that fits, and an incident hits at most
      one event.
    - A spike is fitted by an incident that overlaps it give or take ``TOLERANCE`` points, was announced by
      then, and reaches no further than ``FAR`` points, or the spike's own length, beyond that.
    - A run that does not come back is fitted by an incident that overlaps that stretch and starts at most
      ``FAR`` points before it. Any further incident that starts inside is neutral.
    - A further incident that fits an event is neutral, as is one inside a stretch that is ignored.
    - All others are false alarms, from the first point of the log on.
    """
    found = _found(case, said)
    taken: set[int] = set()
    delays = []
    for event in case.events:
        fitting = [n for n, each in enumerate(found) if n not in taken and _fits(each, event)]
        if fitting:
            best = min(fitting, key=lambda n: found[n].detected)
            taken.add(best)
            delays.append(max(0, found[best].detected - event.first))
    others = [each for n, each in enumerate(found) if n not in taken]
    false = sum(not _is_neutral(each, case) for each in others)
    right = said.verdict in RIGHT[case.truth] and not (false and case.truth == "healthy")
    return Counts(
        events=len(case.events),
        hits=len(taken),
        false=false,
        healthy=_healthy(case),
        delays=delays,
        verdicts=Counter([(case.truth, said.verdict)]),
        right=int(right),
        full=int(len(taken) == len(case.events)),
        clean=int(len(taken) == len(case.events) and not false),
    )


def _found(case: Case, said: Said) -> list[Found]:
    """Return the counted incidents in rows; where a step was logged twice, the later row counts."""
    rows = {int(step): row for row, step in enumerate(case.log.steps)}
    last = int(case.log.steps[-1])
    return [
        Found(rows[i["start"]], rows[last if i["end"] is None else i["end"]], rows[i["detected"]])
        for i in said.incidents
        if i["kind"] in COUNTED
    ]


def _fits(found: Found, event: Event) -> bool:
    if found.start > event.last + TOLERANCE or found.end < event.first - TOLERANCE:
        return False
    if event.open:
        return found.start >= event.first - FAR
    far = TOLERANCE + max(FAR, event.last - event.first)
    is_local = found.start >= event.first - far and found.end <= event.last + far
    return is_local and found.detected <= event.last + TOLERANCE


def _is_neutral(found: Found, case: Case) -> bool:
    if any(_fits(found, event) for event in case.events):
        return True
    if any(event.open and found.start >= event.first - TOLERANCE for event in case.events):
        return True
    return any(_within(found, stretch) for stretch in case.ignore)


def _within(found: Found, stretch: tuple[int, int]) -> bool:
    return stretch[0] - TOLERANCE <= found.start and found.end <= stretch[1] + TOLERANCE


def _healthy(case: Case) -> int:
    busy: set[int] = set()
    stretches: Sequence[tuple[int, int]] = [*((e.first, e.last) for e in case.events), *case.ignore]
    for first, last in stretches:
        busy.update(range(max(0, first - TOLERANCE), min(len(case.log), last + TOLERANCE + 1)))
    return len(case.log) - len(busy)
