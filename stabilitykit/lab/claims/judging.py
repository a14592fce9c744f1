"""Whether a sweep bears out what its recipe claims."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stabilitykit.lab.claims.band import ClaimOutcome
from stabilitykit.lab.claims.claim import Claim, ClaimSpec, Selection, check_claims, selected
from stabilitykit.lab.claims.evidence import Evidence, Found
from stabilitykit.lab.claims.measures import RunMeasure, noted, per_seed, scale_of
from stabilitykit.lab.claims.sets import Correlation, OverRates, SetMeasure
from stabilitykit.lab.sweep.compare.intervals import (
    FISHER,
    Bracket,
    Estimate,
    estimate,
    paired_difference,
    paired_ratio,
    share_difference,
    wilson,
)
from stabilitykit.lab.sweep.grid import Sweep


@dataclass(frozen=True)
class ClaimResult:
    """What became of a claim."""

    says: str
    outcome: ClaimOutcome
    value: float | None
    """Mean over seeds."""
    low: float | None
    """Lower end of its 95 % interval; None where nothing bounds it."""
    high: float | None
    """Upper end; None likewise."""
    band: tuple[float | None, float | None]
    """Within which the whole interval must lie; None is no end."""
    n: int
    """Seeds."""
    unit: str
    """Of the numbers; empty for plain ones."""
    note: str
    """What the numbers do not tell, such as seeds left out; may be empty."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {"band": list(self.band)}


def judge(sweep: Sweep) -> tuple[ClaimResult, ...]:
    """Return what becomes of each claim of a sweep's plan.

    A claim holds where the whole 95 % interval lies within its band, and does not where the whole of it
    lies outside; in between, and where no interval can be told, it is undecided. The interval is over
    seeds: a seed's runs are averaged first, differences and ratios are taken inside each seed. Shares of
    failed runs have Wilson's interval, their differences Newcombe's, everything else that of
    ``compare.mean_interval``.

    Args:
        sweep: As ``open_sweep`` returns it, finished or not.

    Raises:
        ConfigError: A claim cannot be read, or does not fit the plan.
    """
    evidence = Evidence(sweep)
    return tuple(_judged(evidence, claim) for claim in check_claims(sweep.plan))


def _judged(evidence: Evidence, claim: Claim) -> ClaimResult:
    found, notes = _estimate(evidence, claim)
    unit = "" if claim.spec.over is not None else claim.measure.unit
    if found.n == 1:
        notes.append("one seed has no interval")
    return ClaimResult(
        says=claim.spec.says,
        outcome=_outcome(found, claim.spec),
        value=found.value,
        low=found.low,
        high=found.high,
        band=claim.spec.band,
        n=found.n,
        unit=unit,
        note=noted(*notes),
    )


def _outcome(found: Estimate, spec: ClaimSpec) -> ClaimOutcome:
    if found.low is None and found.high is None:
        return "undecided"
    low = -math.inf if found.low is None else found.low
    high = math.inf if found.high is None else found.high
    return spec.outcome(low, high)


def _estimate(evidence: Evidence, claim: Claim) -> tuple[Estimate, list[str]]:
    if isinstance(claim.measure, Correlation):
        runs, others = (selected(evidence.sweep.runs, side) for side in (claim.where, claim.against or {}))
        found = claim.measure.between(evidence, runs, others)
        return estimate(found.by_seed, FISHER), [found.note]
    ours = _found(evidence, claim.measure, claim.where)
    if claim.against is None:
        return _alone(claim, ours.by_seed), [ours.note]
    theirs = _found(evidence, claim.measure, claim.against)
    notes = [ours.note, theirs.note]
    if claim.measure.averaging == "share":
        both = sorted(ours.by_seed.keys() & theirs.by_seed.keys())
        return share_difference(_share(ours.by_seed, both), _share(theirs.by_seed, both)), notes
    if claim.spec.minus is not None:
        return paired_difference(ours.by_seed, theirs.by_seed), notes
    if any(each.value <= 0 for each in (*ours.by_seed.values(), *theirs.by_seed.values())):
        return Estimate(None, None, None, 0), [*notes, "a ratio needs numbers above 0"]
    return paired_ratio(ours.by_seed, theirs.by_seed), notes


def _found(evidence: Evidence, measure: RunMeasure | SetMeasure, side: Selection) -> Found:
    runs = selected(evidence.sweep.runs, side)
    if isinstance(measure, OverRates) and measure.name == "stable_lr_max":
        return measure.found(evidence, runs)
    # Rates that a bisection added are not the same for all settings and seeds.
    grid = {axis.name: axis.values for axis in evidence.sweep.plan.axes}
    runs = selected(runs, grid)
    return (
        measure.found(evidence, runs)
        if isinstance(measure, SetMeasure)
        else per_seed(measure, evidence, runs)
    )


def _alone(claim: Claim, by_seed: dict[int, Bracket]) -> Estimate:
    averaging = claim.measure.averaging
    if averaging == "share":
        return _share(by_seed, sorted(by_seed))
    return estimate(by_seed, scale_of(averaging, by_seed.values()))


def _share(by_seed: Mapping[int, Bracket], seeds: Sequence[int]) -> Estimate:
    return wilson(math.fsum(by_seed[seed].value for seed in seeds), len(seeds))
