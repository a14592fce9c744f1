"""How the runs of a sweep ended, seen together: which are stable, and with which loss each counts."""

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from stabilitykit.lab.sweep.grid import Sweep, SweepPlan, SweepRun, is_slow, is_stable, ladder

LR = "optimizer.lr"
WARMUP = "schedule.warmup"

Key = frozenset[tuple[str, Any]]
"""Values by axis, as something to look up by."""


def without(values: Mapping[str, Any], *axes: str) -> dict[str, Any]:
    """Return the values of the other axes."""
    return {name: value for name, value in values.items() if name not in axes}


def key(values: Mapping[str, Any]) -> Key:
    """Return values as something to look up by."""
    return frozenset(values.items())


def lr_grid(plan: SweepPlan) -> tuple[float, ...]:
    """Return the learning rates that every seed of a plan is to have, rising; empty where none vary.

    Of a bisection these are the values at which it begins.
    """
    if plan.bisect == LR:
        return ladder(plan, LR)
    return _numbers(plan, LR)


def warmup_grid(plan: SweepPlan) -> tuple[float, ...]:
    """Return the warmups of a plan's axis, rising; empty where it has no such axis."""
    return _numbers(plan, WARMUP)


def is_number(value: object) -> bool:
    """Return whether an axis's value is a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class Results:
    """The runs of a sweep, with what can be said of one only beside the others.

    Args:
        sweep: As it is on disk; cells that have not ended are left out.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._first: dict[tuple[Key, int], float] = {}
        self._best = self._best_losses()
        for run in self.sweep.done:
            first = run.result.first_loss if run.result else None
            if first is not None and math.isfinite(first):
                self._first.setdefault((self._architecture(run), run.cell.seed), first)

    def best(self, run: SweepRun) -> float | None:
        """Return the best final loss of a run's architecture, in nats.

        The architecture is all axes but learning rate and warmup. Of each of its settings the median over
        seeds counts, where a loss that is not a number is worse than any; None where none is a number.
        """
        return self._best.get(self._architecture(run))

    def stable(self, run: SweepRun) -> bool:
        """Return whether a run that has ended is stable, as ``is_stable`` says."""
        return run.result is not None and is_stable(run.result, self.best(run))

    def slow(self, run: SweepRun) -> bool:
        """Return whether a run that has ended broke nothing and learnt little, as ``is_slow`` says."""
        return run.result is not None and is_slow(run.result, self.best(run))

    def loss(self, run: SweepRun) -> float | None:
        """Return the loss with which a run counts: min(final loss, first loss), as 2309.14322 has it.

        A run that crashed or whose final loss is not a number counts with its first loss. Where that is
        not known, it is the first loss of another run of its architecture and seed: before the first
        update they are the same. None where there is none of these.
        """
        result = run.result
        if result is None:
            return None
        first = result.first_loss
        if first is None or not math.isfinite(first):
            first = self._first.get((self._architecture(run), run.cell.seed))
        final = result.final_loss
        if result.outcome == "crashed" or final is None or not math.isfinite(final):
            return first
        return final if first is None else min(final, first)

    def losses(self, runs: Iterable[SweepRun]) -> dict[int, float]:
        """Return the loss with which the runs of one setting count, by seed, where there is one."""
        losses = {run.cell.seed: self.loss(run) for run in runs}
        return {seed: loss for seed, loss in losses.items() if loss is not None}

    def _best_losses(self) -> dict[Key, float | None]:
        losses: dict[Key, dict[Key, list[float]]] = {}
        for run in self.sweep.done:
            final = run.result.final_loss if run.result and run.result.outcome != "crashed" else None
            known = math.inf if final is None or math.isnan(final) else final
            settings = losses.setdefault(self._architecture(run), {})
            settings.setdefault(key(run.cell.values), []).append(known)
        best = {arch: min(map(median, settings.values())) for arch, settings in losses.items()}
        return {arch: loss if math.isfinite(loss) else None for arch, loss in best.items()}

    @staticmethod
    def _architecture(run: SweepRun) -> Key:
        return key(without(run.cell.values, LR, WARMUP))


def grouped(runs: Iterable[SweepRun], *apart: str) -> list[tuple[dict[str, Any], list[SweepRun]]]:
    """Return runs by the values of all axes but some, in the order in which these turn up."""
    found: dict[Key, tuple[dict[str, Any], list[SweepRun]]] = {}
    for run in runs:
        values = without(run.cell.values, *apart)
        found.setdefault(key(values), (values, []))[1].append(run)
    return list(found.values())


def by_seed(runs: Iterable[SweepRun]) -> dict[int, list[SweepRun]]:
    """Return runs by their seed."""
    found: dict[int, list[SweepRun]] = {}
    for run in runs:
        found.setdefault(run.cell.seed, []).append(run)
    return found


def _numbers(plan: SweepPlan, name: str) -> tuple[float, ...]:
    values = next((axis.values for axis in plan.axes if axis.name == name), ())
    return tuple(sorted(values)) if all(map(is_number, values)) else ()
