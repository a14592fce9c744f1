"""A sweep in a few lines: for each setting of the other axes, what its grid of learning rates says."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stabilitykit.lab.sweep.compare.intervals import LOG, NOTHING, Estimate, estimate, wilson
from stabilitykit.lab.sweep.compare.rates import best_rate, lr_sensitivities, stable_lr_maxima
from stabilitykit.lab.sweep.compare.results import LR, Results, grouped, lr_grid
from stabilitykit.lab.sweep.compare.sites import first_sites
from stabilitykit.lab.sweep.grid import Sweep, SweepRun


@dataclass(frozen=True)
class Summary:
    """What the runs of one combination of the axes other than ``optimizer.lr`` say together."""

    values: Mapping[str, Any]
    """Value or label by the axis's name."""
    lrs: tuple[float, ...]
    """The grid of learning rates on which the sensitivity rests; empty where the sweep has none."""
    lr_sensitivity: Estimate
    """In nats (2309.14322 Eq. 1)."""
    stable_lr_max: Estimate
    """Largest learning rate up to which all are stable; ``censored`` where a seed sees no failure."""
    best_lr: float | None
    """Learning rate with the lowest mean loss."""
    best_loss: Estimate
    """Loss there in nats; over all runs where the sweep has no grid of learning rates."""
    failure_rate: Mapping[float, Estimate]
    """Share of seeds that are not stable, by learning rate, with Wilson's interval."""
    failed: Estimate
    """Share of all runs that are not stable. They share seeds, so its interval is a guide only."""
    first_sites: Mapping[str, int]
    """``kind@site`` that left its band first, and in how many failing runs."""

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain data; rates of failure as a list, since JSON's keys are texts."""
        rates = [{"lr": lr, **asdict(share)} for lr, share in self.failure_rate.items()]
        return {
            **asdict(self),
            "values": dict(self.values),
            "lrs": list(self.lrs),
            "failure_rate": rates,
            "first_sites": dict(self.first_sites),
        }


def summarise(sweep: Sweep) -> tuple[Summary, ...]:
    """Return a summary for every combination of the axes other than ``optimizer.lr``.

    A run is stable if its verdict is ``stable`` or ``recovered`` and its final loss within 0.5 nat of the
    best of its architecture (all axes but learning rate and warmup). A crashed run is a failure; a cell that
    has not ended is left out, and ``n`` tells how many are there. Intervals are over seeds.

    Args:
        sweep: As ``open_sweep`` returns it.
    """
    results, lrs = Results(sweep), lr_grid(sweep.plan)
    return tuple(_summary(results, values, runs, lrs) for values, runs in settings(sweep))


def settings(sweep: Sweep) -> list[tuple[dict[str, Any], list[SweepRun]]]:
    """Return the runs of each combination of the axes other than a grid of learning rates."""
    return grouped(sweep.runs, *((LR,) if lr_grid(sweep.plan) else ()))


def _summary(
    results: Results, values: Mapping[str, Any], runs: Sequence[SweepRun], lrs: tuple[float, ...]
) -> Summary:
    done = [run for run in runs if run.result is not None]
    failing = [run for run in done if not results.stable(run)]
    best_lr, losses = best_rate(results, done) if lrs else (None, results.losses(done))
    return Summary(
        values=values,
        lrs=lrs,
        lr_sensitivity=estimate(lr_sensitivities(results, done, lrs)) if lrs else NOTHING,
        stable_lr_max=estimate(stable_lr_maxima(results, runs), LOG) if lrs else NOTHING,
        best_lr=best_lr,
        best_loss=estimate(losses),
        failure_rate=_failure_rates(results, done) if lrs else {},
        failed=wilson(len(failing), len(done)),
        first_sites=first_sites(failing),
    )


def _failure_rates(results: Results, runs: Sequence[SweepRun]) -> dict[float, Estimate]:
    found: dict[float, list[bool]] = {}
    for run in runs:
        found.setdefault(float(run.cell.values[LR]), []).append(not results.stable(run))
    return {lr: wilson(sum(failed), len(failed)) for lr, failed in sorted(found.items())}
