"""Which settings of a sweep differ, and which only seem to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from stabilitykit.lab.sweep.compare.intervals import Estimate, SeedValues, paired_difference, paired_ratio
from stabilitykit.lab.sweep.compare.rates import best_rate, lr_sensitivities, stable_lr_maxima
from stabilitykit.lab.sweep.compare.results import Results, lr_grid
from stabilitykit.lab.sweep.compare.summary import settings
from stabilitykit.lab.sweep.grid import Sweep, SweepRun


@dataclass(frozen=True)
class Difference:
    """One number of two settings that differ in one axis, compared seed by seed."""

    measure: str
    """``lr_sensitivity`` and ``best_loss`` in nats, or ``stable_lr_max``, of which the ratio is taken."""
    axis: str
    """In which the settings differ."""
    a: Any
    """Value of the one."""
    b: Any
    """Value of the other."""
    values: Mapping[str, Any]
    """What the other axes are in both."""
    estimate: Estimate
    """``a - b``, or ``a / b`` of learning rates."""
    differs: bool
    """Whether the whole interval lies on one side of no difference. Nothing is corrected for how many are
    looked at: of twenty that are equal one seems to differ."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def differences(sweep: Sweep) -> tuple[Difference, ...]:
    """Return how all pairs of settings differ that differ in one axis other than the learning rate.

    Args:
        sweep: As ``open_sweep`` returns it.
    """
    results, lrs = Results(sweep), lr_grid(sweep.plan)
    measured = [(values, _measured(results, runs, lrs)) for values, runs in settings(sweep)]
    found: list[Difference] = []
    for (values, ours), (other, theirs) in combinations(measured, 2):
        apart = [axis for axis in values if values[axis] != other[axis]]
        if len(apart) == 1:
            rest = {name: value for name, value in values.items() if name != apart[0]}
            found += _compared(apart[0], (values[apart[0]], other[apart[0]]), rest, ours, theirs)
    return tuple(found)


def _compared(
    axis: str,
    sides: tuple[Any, Any],
    rest: Mapping[str, Any],
    ours: Mapping[str, SeedValues],
    theirs: Mapping[str, SeedValues],
) -> Iterator[Difference]:
    for measure in ours:
        is_ratio = measure == "stable_lr_max"
        compare = paired_ratio if is_ratio else paired_difference
        estimate = compare(ours[measure], theirs[measure])
        yield Difference(measure, axis, *sides, rest, estimate, estimate.excludes(1.0 if is_ratio else 0.0))


def _measured(results: Results, runs: Sequence[SweepRun], lrs: tuple[float, ...]) -> dict[str, SeedValues]:
    done = [run for run in runs if run.result is not None]
    if not lrs:
        return {"best_loss": results.losses(done)}
    return {
        "lr_sensitivity": lr_sensitivities(results, done, lrs),
        "stable_lr_max": stable_lr_maxima(results, runs),
        "best_loss": best_rate(results, done)[1],
    }
