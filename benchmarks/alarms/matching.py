"""One run's alarms beside its events."""

from dataclasses import dataclass

import numpy as np

from benchmarks.alarms.announcing import Alarms, episodes
from benchmarks.alarms.exposure import early_steps, healthy_steps, horizon
from benchmarks.alarms.labels import Event, Kind, Label

MISSED = -np.inf
"""Lead of an event that nothing warned of."""


@dataclass(frozen=True)
class Warned:
    """What a method said of one event."""

    lead: float
    """From the first episode that began before it, in steps."""
    strict: float
    """From the first that began inside the horizon."""
    delay: float
    """Steps from the onset to the first episode at or after it, where nothing came before; else NaN."""


@dataclass(frozen=True)
class Matched:
    """What a method said in one run."""

    warnings: tuple[Warned, ...]
    """One an event."""
    false: int
    """Episodes that began at a healthy step."""
    early: int
    """Episodes that began before the horizon of a failure, or before a fault."""
    first_false: int | None
    """Step of the first false one."""
    alarmed: int
    """Healthy steps in alarm."""
    any: bool
    """Whether there was an alarm at all."""


class Ground:
    """A label, with what every method is matched against worked out once."""

    def __init__(self, label: Label) -> None:
        self.label = label
        self.healthy = healthy_steps(label)
        self.early = early_steps(label)
        self.exposed = int(self.healthy.sum())
        self.early_exposed = int(self.early.sum())

    def match(self, announced: Alarms) -> Matched:
        """Return what a method's alarms are worth; those at step 0 cannot be forecasts and are left out."""
        announced = announced[announced > 0]
        starts = episodes(announced)
        false = starts[self.healthy[starts]]
        return Matched(
            warnings=tuple(_warning(event, self.label, starts) for event in self.label.events),
            false=len(false),
            early=int(self.early[starts].sum()),
            first_false=int(false[0]) if len(false) else None,
            alarmed=int(self.healthy[announced].sum()),
            any=len(starts) > 0,
        )

    @property
    def is_healthy(self) -> bool:
        """Whether the whole run is."""
        return self.label.kind is Kind.HEALTHY


def openings(event: Event, label: Label, lead: int) -> tuple[int, int]:
    """Return at how many steps an episode could begin and warn of an event, at any time and strictly."""
    last = event.onset - lead
    strict = max(event.since, event.onset - horizon(label.n_steps))
    return max(0, last - event.since + 1), max(0, last - strict + 1)


def _warning(event: Event, label: Label, starts: Alarms) -> Warned:
    before = starts[(starts >= event.since) & (starts < event.onset)]
    inside = before[before >= event.onset - horizon(label.n_steps)]
    end = label.n_steps if event.recovery is None else event.recovery
    after = starts[(starts >= event.onset) & (starts <= end)]
    is_late = len(before) == 0 and len(after) > 0
    return Warned(
        lead=float(event.onset - before[0]) if len(before) else MISSED,
        strict=float(event.onset - inside[0]) if len(inside) else MISSED,
        delay=float(after[0] - event.onset) if is_late else np.nan,
    )
