"""What is published of a method."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stabilitykit.lab.sweep.compare.intervals import Estimate

LEADS = (1, 5, 20, 50)
"""Steps of lead at which recall is given; the headline is at 5."""
HEADLINE = 5


@dataclass(frozen=True)
class Quartiles:
    """Of leads over all events, in steps; minus infinity where more are missed than that."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Recall:
    """Shares of the events that were warned of, by the least lead."""

    share: Mapping[int, Estimate]
    chance: Mapping[int, float]
    """What alarms at the same rate, at random, would reach."""
    gain: Mapping[int, Estimate]
    """Share less chance."""
    p: Mapping[int, float]
    """One-sided, of a gain above zero, for this method alone; see ``holm``."""
    lead: Quartiles


@dataclass(frozen=True)
class FalseAlarms:
    """Episodes that began where nothing was wrong."""

    episodes: int
    steps: int
    """In how many."""
    per_thousand: Estimate


@dataclass(frozen=True)
class Score:
    """How a method did. Intervals are of 95 %, over families."""

    events: int
    unarmed: int
    """Events whose onset was before the method could alarm; among ``events``, and missed."""
    anytime: Recall
    """An alarm counts at any time before the event."""
    strict: Recall
    """Only an episode that begins inside the horizon counts: 200 steps, or a fifth of a shorter run."""
    late: int
    """Events announced at the onset or after it, and not before."""
    delay: float
    """Median steps from their onset to that; NaN where there is none."""
    healthy: FalseAlarms
    """In healthy runs, or between spikes."""
    early: FalseAlarms
    """In failed runs before the horizon, which the strict count calls false; or before a fault."""
    precision: float
    """Events warned of inside the horizon, over those and all episodes in healthy runs and before it."""
    flagged: Estimate
    """Share of the healthy runs with an alarm."""
    grey: Estimate
    """Share of the grey runs with one."""
    in_warning: float | None
    """Share of the healthy steps in alarm; None where the alarms are announcements."""
    quiet: tuple[tuple[int, float], ...]
    """Kaplan-Meier: steps of first false alarms, with the share of healthy runs still quiet after each."""
    clusters: int
    """Families (or settings, see ``Resamples``) that were resampled."""

    @property
    def headline(self) -> Estimate:
        """Recall at a lead of at least 5 steps, at any time before the event."""
        return self.anytime.share[HEADLINE]

    def to_json(self) -> dict[str, Any]:
        """Return all figures as plain JSON types; what is no number, such as the lead of a miss, is null."""
        found: dict[str, Any] = _plain(self)
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value
