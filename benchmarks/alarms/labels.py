"""How a run went, and from which step on: from its loss and its batches' unigram cross-entropy alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from benchmarks.alarms.curves import Curve, Trained
from benchmarks.alarms.families import Groups
from benchmarks.alarms.humps import humps
from benchmarks.alarms.onsets import divergence, leaves_for_good, loss_onset, upper_envelope
from benchmarks.alarms.rules import Rules
from stabilitykit.errors import DataError


class Kind(StrEnum):
    """How a run went."""

    NONFINITE = "nonfinite"
    DIVERGED = "diverged"
    STUCK = "stuck"
    DEGRADED = "degraded"
    GREY = "grey"
    """Neither an event nor healthy; its count is published."""
    HEALTHY = "healthy"
    SPIKING = "spiking"
    """On a repeated corpus: its events, if any, are spikes."""
    INJECTED = "injected"


FAILED = frozenset({Kind.NONFINITE, Kind.DIVERGED, Kind.STUCK, Kind.DEGRADED})
"""Kinds of natural failures, which are pooled; spikes and injected faults never are with them."""


@dataclass(frozen=True)
class Event:
    """What is to be warned of. All are steps."""

    onset: int
    """t*."""
    since: int = 1
    """From which step on an alarm may be a warning of it: after the spike before, or from a fault on.
    Nothing can be forecast at step 0."""
    crossing: int | None = None
    """At which a divergence or spike is beyond doubt."""
    peak: int | None = None
    """Of a spike."""
    recovery: int | None = None
    """Of a spike."""
    loss_onset: int | None = None
    """At which the loss itself answers an injected fault; None where it never does."""


@dataclass(frozen=True)
class Label:
    """All that scoring knows of a run."""

    name: str
    arm: str
    arch: str
    optimizer: str
    family: tuple[Any, ...]
    """Runs that are compared, and stay in one fold."""
    setting: tuple[Any, ...]
    """All but the seed."""
    kind: Kind
    n_steps: int
    events: tuple[Event, ...] = ()
    final: float = np.nan
    """Final loss less unigram cross-entropy, in nats."""
    above_best: float = np.nan
    """Final loss above the best of the family, in nats."""
    references: tuple[str, ...] = field(default=(), compare=False)
    """Which groups the best and the envelope are of."""
    note: str = ""
    """Why it is grey."""


Labels = Mapping[str, Label]
"""By the run's name."""


def label_runs(runs: Sequence[Trained], rules: Rules | None = None) -> dict[str, Label]:
    """Return each run's label.

    Runs of the arms ``repeated`` and ``injected`` are labelled by themselves; all others are compared with
    their family.

    Args:
        runs: All of them, since the best of a family and its healthy members are found among them.
        rules: The thresholds; None means the stated ones.

    Raises:
        DataError: If a run lacks steps, or has no unigram cross-entropy.
    """
    rules = rules or Rules()
    for run in runs:
        if not np.array_equal(run.steps, np.arange(len(run.steps))):
            raise DataError(f"{run.name}: every step from 0 on is needed, once and in order")
    curves = [Curve(run, rules.smooth, rules.last) for run in runs]
    special = {"repeated": _spiking, "injected": _injected}
    natural = [curve for curve in curves if curve.run.arm not in special]
    groups = Groups(natural, rules)
    levels = {curve.run.name: _level(curve, groups, rules) for curve in natural}
    healthy = frozenset(name for name, level in levels.items() if level[0] is Kind.HEALTHY)
    found = {}
    for curve in curves:
        alone = special.get(curve.run.arm)
        label = alone(curve, rules) if alone else _natural(curve, groups, levels, healthy, rules)
        found[curve.run.name] = label
    return found


def count_labels(labels: Labels) -> dict[str, dict[str, int]]:
    """Return how many runs of each arm and placement have each label."""
    found: dict[str, Counter[str]] = {}
    for label in labels.values():
        found.setdefault(f"{label.arm}, {label.arch}", Counter())[label.kind.value] += 1
    return {key: dict(found[key]) for key in sorted(found)}


def _level(curve: Curve, groups: Groups, rules: Rules) -> tuple[Kind, float]:
    """Return what the end of a run says, before any onset, and how far it is above the best."""
    best = groups.best(curve.run)
    above = curve.final - best.excess
    if curve.first_nonfinite is not None:
        return Kind.NONFINITE, above
    if divergence(curve.smooth_loss, float(curve.loss[0]), best.loss, rules):
        return Kind.DIVERGED, above
    if curve.final >= -rules.parked:
        return Kind.STUCK, above
    if above >= rules.degraded:
        return Kind.DEGRADED, above
    return (Kind.HEALTHY if above <= rules.healthy else Kind.GREY), above


def _natural(
    curve: Curve,
    groups: Groups,
    levels: Mapping[str, tuple[Kind, float]],
    healthy: frozenset[str],
    rules: Rules,
) -> Label:
    run = curve.run
    kind, above = levels[run.name]
    best = groups.best(run)
    if kind not in FAILED:
        return _label(curve, kind, above=above, references=(best.group,))
    group, members = groups.healthy(run, healthy)
    onsets, crossing = [], None
    if curve.first_nonfinite is not None:
        onsets.append(curve.first_nonfinite)
    diverged = divergence(curve.smooth_loss, float(curve.loss[0]), best.loss, rules)
    if kind is Kind.DIVERGED and diverged:
        onsets.append(diverged.onset)
        crossing = diverged.crossing
    # What is noisy and high from the start on may "diverge" at its very end: it was lost long before.
    left = _leaves(curve, members, rules) if members else None
    if left is not None:
        onsets.append(left)
    note = _why_grey(curve, kind, members, min(onsets, default=None), rules)
    events = () if note else (Event(min(onsets), crossing=crossing),)
    return _label(curve, Kind.GREY if note else kind, events, above, (best.group, group), note)


def _leaves(curve: Curve, members: Sequence[Curve], rules: Rules) -> int | None:
    """Return from which position on a run stays above the good ones of its healthy peers, best first."""
    good = sum(member.final <= members[0].final + rules.good for member in members)
    kept = [member.smooth_excess for member in members[: max(good, rules.least_healthy)]]
    finite = curve.smooth_excess[: curve.first_nonfinite]
    return leaves_for_good(finite, upper_envelope(kept, rules.envelope), rules.above)


def _why_grey(curve: Curve, kind: Kind, members: Sequence[Curve], onset: int | None, rules: Rules) -> str:
    """Return why a run that ended badly is no event; empty where it is one."""
    if kind in (Kind.NONFINITE, Kind.DIVERGED):
        return ""
    if not members:
        return f"{kind}, but no healthy run to compare with"
    if curve.run.lr < min(member.run.lr for member in members):
        return "slow: every healthy run has a larger rate"
    if onset is None:
        return f"{kind} without an onset"
    if kind is Kind.DEGRADED and onset >= (1 - rules.too_late) * len(curve.run.steps):
        return "degraded, with an onset near the end"
    return ""


def _spiking(curve: Curve, rules: Rules) -> Label:
    events: list[Event] = []
    since = 1
    for each in humps(curve.loss, rules):
        events.append(Event(each.onset, since, each.crossing, each.peak, each.recovery))
        since = 1 + (each.peak if each.recovery is None else each.recovery)
    return _label(curve, Kind.SPIKING, tuple(events))


def _injected(curve: Curve, rules: Rules) -> Label:
    step = int(curve.run.config["fault"]["step"])
    event = Event(step, since=step, loss_onset=loss_onset(curve.excess, step, rules))
    return _label(curve, Kind.INJECTED, (event,))


def at_loss_onset(labels: Labels) -> dict[str, Label]:
    """Return the labels of runs with injected faults, with the loss's own onset in place of the fault's step.

    Leads are measured against it, and delays against the fault. Runs whose loss never answers have no event.
    """
    return {
        name: replace(
            label,
            events=tuple(replace(e, onset=e.loss_onset) for e in label.events if e.loss_onset is not None),
        )
        for name, label in labels.items()
    }


def _label(
    curve: Curve,
    kind: Kind,
    events: tuple[Event, ...] = (),
    above: float = np.nan,
    references: tuple[str, ...] = (),
    note: str = "",
) -> Label:
    run = curve.run
    return Label(
        name=run.name,
        arm=run.arm,
        arch=run.arch,
        optimizer=run.optimizer,
        family=run.family,
        setting=run.setting,
        kind=kind,
        n_steps=len(run.steps),
        events=events,
        final=curve.final,
        above_best=above,
        references=references,
        note=note,
    )
