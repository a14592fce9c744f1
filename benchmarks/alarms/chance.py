"""What alarms that know nothing of a run reach: at random, and by the step's number alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.alarms.exposure import healthy_steps, horizon
from benchmarks.alarms.folds import Fold
from benchmarks.alarms.labels import Event, Label, Labels
from benchmarks.alarms.score import HEADLINE, LEADS
from benchmarks.alarms.thresholds import BUDGET

Numbers = NDArray[np.float64]


def at_random(rates: Numbers, openings: Numbers) -> Numbers:
    """Return the recall of random alarms of an equal rate, 1 - exp(-λH), for each rate and event.

    Such is the analytic chance of seizure warnings (Snyder and others 2008, Journal of Neuroscience Methods
    172, 357).

    Args:
        rates: False episodes a step, λ.
        openings: Steps at which an episode could begin and count, H, of each event.
    """
    return np.asarray(-np.expm1(-np.outer(rates, openings)))


@dataclass(frozen=True)
class StepOnly:
    """Expected figures of the best rule that knows but the step: an alarm at one step, in some runs."""

    steps: Mapping[str, int]
    """At which, by what is held out."""
    shares: Mapping[str, float]
    """In what share of runs, drawn at random: as many as the budget allows."""
    recall: Mapping[int, float]
    """By least lead."""
    per_thousand: float
    """False alarms in 1,000 healthy steps of the runs held out."""


def step_only(labels: Labels, folds: Sequence[Fold], strict: bool, budget: float = BUDGET) -> StepOnly:
    """Return what the step's number alone reaches, with the step and the share of runs chosen on other folds.

    An alarm at a fixed step is one in every healthy run, far above any budget: it may only be raised in a
    share of them, which is then the most that its recall can be.

    Args:
        labels: Of natural runs.
        folds: For each the step is chosen that warns of most events of its training runs.
        strict: Whether only alarms inside the horizon count.
        budget: False alarms in 1,000 healthy steps.
    """
    steps, shares = {}, {}
    hits = dict.fromkeys(LEADS, 0.0)
    events, false, exposed = 0, 0.0, 0
    for fold in folds:
        step, part = _choose([labels[name] for name in sorted(fold.train)], strict, budget)
        steps[fold.name], shares[fold.name] = step, part
        for label in (labels[name] for name in sorted(fold.held_out)):
            healthy = healthy_steps(label)
            exposed += int(healthy.sum())
            false += part * float(healthy[step : step + 1].sum())
            events += len(label.events)
            for lead in LEADS:
                hits[lead] += part * sum(_warns(step, e, label, lead, strict) for e in label.events)
    recall = {lead: count / events if events else np.nan for lead, count in hits.items()}
    return StepOnly(steps, shares, recall, 1000 * false / exposed if exposed else np.nan)


def _choose(train: Sequence[Label], strict: bool, budget: float) -> tuple[int, float]:
    """Return the step, and the share of runs, with the best expected recall at the headline's lead."""
    longest = max((label.n_steps for label in train), default=0)
    at_risk = np.zeros(longest)
    for label in train:
        at_risk[: label.n_steps] += healthy_steps(label)
    allowed = budget * at_risk.sum() / 1000
    parts = np.divide(allowed, at_risk, out=np.ones(longest), where=at_risk > allowed)
    warned = np.array(
        [
            sum(_warns(step, e, label, HEADLINE, strict) for label in train for e in label.events)
            for step in range(longest)
        ],
        float,
    )
    best = int(np.argmax(parts * warned))
    return best, float(parts[best])


def _warns(step: int, event: Event, label: Label, lead: int, strict: bool) -> bool:
    first = max(event.since, event.onset - horizon(label.n_steps)) if strict else event.since
    return first <= step <= event.onset - lead
