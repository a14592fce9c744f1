"""Whether what was priced bears out what a recipe claims."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.claims.band import ClaimOutcome
from stabilitykit.lab.claims.costs.recipe import TIMED, CostClaim, Quantity
from stabilitykit.lab.cost.measured.measurement import Measurement, Seconds
from stabilitykit.lab.cost.operation import CLASSES, OpClass
from stabilitykit.lab.cost.pricing import Priced
from stabilitykit.lab.cost.spread import median_ratio

CostOutcome = ClaimOutcome | Literal["not measured"]
Sides = Sequence[Priced]
"""The variants of one workload."""


@dataclass(frozen=True)
class CostClaimResult:
    """What became of a claim."""

    says: str
    workload: str
    outcome: CostOutcome
    value: float | None
    """Median over rounds, or what was computed."""
    low: float | None
    """Lower end of its 95 % interval; the value itself where it was computed."""
    high: float | None
    """Upper end."""
    band: tuple[float | None, float | None]
    """Within which the whole interval must lie; None is no end."""
    rounds: int
    """0 where it was computed, or not measured."""
    note: str = ""
    """What the numbers do not tell; may be empty."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {"band": list(self.band)}


def check_cost_claims(claims: Sequence[CostClaim], priced: Mapping[str, Sides]) -> None:
    """Refuse claims that name a variant, a class or an operation which their workload does not have.

    Args:
        claims: A recipe's.
        priced: The variants of each workload, predicted or measured.

    Raises:
        ConfigError: One does; names the claim's number, counted from 1, the field, and what is accepted.
    """
    for n, claim in enumerate(claims, start=1):
        for where, each in (("", claim), ("over.", claim.divisor)):
            if each is not None:
                _check(each, priced[claim.workload], f"claim {n}: {where}")


def judge_costs(claims: Sequence[CostClaim], priced: Mapping[str, Sides]) -> tuple[CostClaimResult, ...]:
    """Return what becomes of each claim.

    A claim holds where the whole 95 % interval lies within its band, and does not where the whole of it
    lies outside; in between it is undecided. The interval is a bootstrap of the median over rounds, in each
    of which all variants ran; what is computed has none, and is exact.

    Args:
        claims: A recipe's, checked.
        priced: The variants of each workload; what takes a run is not judged where none was made.
    """
    return tuple(_judged(claim, priced[claim.workload]) for claim in claims)


def _judged(claim: CostClaim, sides: Sides) -> CostClaimResult:
    given: dict[str, Any] = {"says": claim.says, "workload": claim.workload, "band": claim.band}
    empty = {**given, "value": None, "low": None, "high": None, "rounds": 0}
    if claim.is_timed and any(each.measurement is None for each in sides):
        return CostClaimResult(**empty, outcome="not measured")
    ours = _amounts(claim, sides)
    theirs = np.ones(1) if claim.divisor is None else _amounts(claim.divisor, sides)
    if not (theirs > 0).all():
        return CostClaimResult(**empty, outcome="undecided", note="divided by nothing")
    ours, theirs = np.broadcast_arrays(ours, theirs)
    found = median_ratio(ours, theirs)
    rounds = len(ours) if claim.is_timed else 0
    low, high = found.low, found.high
    return CostClaimResult(
        **given, outcome=claim.outcome(low, high), value=found.median, low=low, high=high, rounds=rounds
    )


def _amounts(each: Quantity, sides: Sides) -> Seconds:
    """Return a number for every round, or the one that is computed."""
    side = _side(each, sides)
    if side.measurement is not None and each.measure in TIMED:
        return _times(each, side.measurement)
    prediction = side.prediction
    if each.measure in ("memory", "parameters"):
        whole = prediction.memory.total if each.measure == "memory" else prediction.parameters
        return np.array([float(whole)])
    unit = each.measure.removesuffix("_share")
    members = [one.total for one in prediction.operations if _is_in(each, one.name, one.op_class)]
    amount = float(sum(getattr(work, unit) for work in members))
    return np.array([amount / getattr(prediction.total, unit) if each.measure.endswith("_share") else amount])


def _times(each: Quantity, measured: Measurement) -> Seconds:
    if each.measure == "step":
        return measured.plain
    members = [one.seconds for one in measured.operations if _is_in(each, one.name, one.op_class)]
    seconds: Seconds = np.sum(members, axis=0) if members else np.zeros_like(measured.plain)
    return seconds / measured.kernels if each.measure == "time_share" else seconds


def _is_in(each: Quantity, name: str, op_class: OpClass) -> bool:
    return not each.names or any(op_class == one or fnmatchcase(name, one) for one in each.names)


def _side(each: Quantity, sides: Sides) -> Priced:
    return next((side for side in sides if side.label == each.variant), sides[0])


def _check(each: Quantity, sides: Sides, where: str) -> None:
    labels = [side.label for side in sides]
    if each.variant is not None and each.variant not in labels:
        raise ConfigError(f"{where}variant: got {each.variant!r}; {closest(each.variant, labels)}")
    operations = [one.name for one in _side(each, sides).prediction.operations]
    for name in each.names:
        if name not in CLASSES and not any(fnmatchcase(one, name) for one in operations):
            raise ConfigError(f"{where}of: got {name!r}; {closest(name, (*CLASSES, *operations))}")
