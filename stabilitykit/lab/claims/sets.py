"""Measures of several runs together, taken inside each seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from stabilitykit.lab.claims.evidence import Evidence, Found, Series
from stabilitykit.lab.claims.measures import (
    Averaging,
    RunMeasure,
    left_out,
    noted,
    open_ends,
    per_seed,
)
from stabilitykit.lab.sweep.compare.intervals import LINEAR, LOG, Bracket, bracket, mean_bracket
from stabilitykit.lab.sweep.compare.rates import lr_sensitivities, stable_lr_maxima
from stabilitykit.lab.sweep.compare.results import LR, by_seed, grouped
from stabilitykit.lab.sweep.grid import SweepRun


@runtime_checkable
class SetMeasure(Protocol):
    """One number for the runs of a seed."""

    @property
    def averaging(self) -> Averaging:
        """How seeds are averaged."""

    @property
    def unit(self) -> str:
        """Of the numbers; empty for plain ones."""

    @property
    def axis(self) -> str:
        """The axis of numbers that it is taken along."""

    def found(self, evidence: Evidence, runs: Sequence[SweepRun]) -> Found:
        """Return what each seed says.

        Args:
            evidence: Of the whole sweep.
            runs: Those that a claim is about, ended or not.
        """


@dataclass(frozen=True)
class OverRates:
    """A measure of a grid of learning rates; of several settings of the other axes the mean is taken."""

    name: str
    averaging: Averaging = "linear"
    unit: str = "nats"
    axis: str = LR

    def found(self, evidence: Evidence, runs: Sequence[SweepRun]) -> Found:
        """Return what each seed says; it counts only where every setting has a value for it."""
        settings = [self._of_setting(evidence, mine) for _, mine in grouped(runs, LR)]
        seeds = by_seed(runs)
        values = {
            seed: mean_bracket([each[seed] for each in settings], LOG if self.averaging == "log" else LINEAR)
            for seed in seeds
            if all(seed in each for each in settings)
        }
        lowest = 0.0 if self.averaging == "log" else -math.inf
        note = left_out(len(seeds), len(seeds) - len(values), 0)
        return Found(values, noted(note, open_ends(values, lowest)))

    def _of_setting(self, evidence: Evidence, runs: Sequence[SweepRun]) -> dict[int, Bracket]:
        if self.name == "stable_lr_max":
            return stable_lr_maxima(evidence, runs)
        if self.name == "lr_sensitivity":
            lrs = sorted({float(run.cell.values[LR]) for run in runs})
            found = lr_sensitivities(evidence, [run for run in runs if run.result is not None], lrs)
        else:
            found = _best_over_rates(evidence, runs)
        return {seed: bracket(value) for seed, value in found.items()}


def _best_over_rates(evidence: Evidence, runs: Sequence[SweepRun]) -> dict[int, float]:
    """Return each seed's lowest loss over the learning rates, where all of them have ended."""
    found: dict[int, float] = {}
    for seed, mine in by_seed(runs).items():
        losses = [loss for run in mine if (loss := evidence.loss(run)) is not None]
        if len(losses) == len(mine):
            found[seed] = min(losses)
    return found


RATE_MEASURES: dict[str, OverRates] = {
    "lr_sensitivity": OverRates("lr_sensitivity"),
    "stable_lr_max": OverRates("stable_lr_max", "log", ""),
    "loss_at_best_lr": OverRates("loss_at_best_lr"),
}
"""By name: 2309.14322 Eq. 1, the largest rate up to which all are stable, and the lowest final loss."""


@dataclass(frozen=True)
class Exponent:
    """How a run's number grows along an axis: the slope of its logarithm on the axis's."""

    measure: RunMeasure
    axis: str
    averaging: Averaging = "linear"
    unit: str = ""

    def found(self, evidence: Evidence, runs: Sequence[SweepRun]) -> Found:
        """Return the least-squares slope of each seed, which counts only with a number above 0 everywhere."""
        at: dict[float, dict[int, Bracket]] = {}
        for value in sorted({float(run.cell.values[self.axis]) for run in runs}):
            mine = [run for run in runs if run.cell.values[self.axis] == value]
            at[value] = per_seed(self.measure, evidence, mine).by_seed
        seeds = by_seed(runs)
        values: dict[int, Bracket] = {}
        for seed in seeds:
            numbers = [found[seed].value for found in at.values() if seed in found]
            if len(numbers) == len(at) >= 2 and all(0 < number < math.inf for number in numbers):
                values[seed] = bracket(float(np.polyfit(np.log(list(at)), np.log(numbers), 1)[0]))
        waiting = sum(any(run.result is None for run in mine) for mine in seeds.values())
        return Found(values, left_out(len(seeds), waiting, len(seeds) - waiting - len(values)))


@dataclass(frozen=True)
class Correlation:
    """How much the step losses of two runs of one seed move together, apart from their course.

    Pearson's correlation of what is left of ``train/loss`` after its centred moving mean, over the steps
    that both have before either is not a number.
    """

    window: int
    """Steps of the moving mean, an odd number."""
    averaging: Averaging = "fisher"
    unit: str = ""

    def between(self, evidence: Evidence, runs: Sequence[SweepRun], others: Sequence[SweepRun]) -> Found:
        """Return the correlation of each seed.

        Args:
            evidence: Of the whole sweep.
            runs: One for each seed.
            others: Likewise.
        """
        theirs = {run.cell.seed: run for run in others}
        values: dict[int, Bracket] = {}
        for run in runs:
            other = theirs.get(run.cell.seed)
            if other is not None and run.result is not None and _has_ended(other):
                found = self._of(evidence.series(run, "train/loss"), evidence.series(other, "train/loss"))
                if found is not None:
                    values[run.cell.seed] = bracket(found)
        ended = sum(run.result is not None and _has_ended(theirs.get(run.cell.seed)) for run in runs)
        return Found(values, left_out(len(runs), len(runs) - ended, ended - len(values)))

    def _of(self, a: Series, b: Series) -> float | None:
        _, ours, theirs = np.intersect1d(a.steps, b.steps, assume_unique=True, return_indices=True)
        both = np.stack([a.values[ours], b.values[theirs]])
        broken = np.flatnonzero(~np.isfinite(both).all(axis=0))
        both = both[:, : broken[0]] if len(broken) else both
        if both.shape[1] < 2 * self.window:
            return None
        left = np.stack([detrended(row, self.window) for row in both])
        if not (left.std(axis=1) > 0).all():
            return None
        return float(np.corrcoef(left)[0, 1])


def _has_ended(run: SweepRun | None) -> bool:
    return run is not None and run.result is not None


def detrended(values: Float[np.ndarray, "n"], window: int) -> Float[np.ndarray, "m"]:
    """Return what is left of a series after its centred moving mean, without the ends that have none.

    Args:
        values: A number a step.
        window: Steps of the mean, an odd number.
    """
    half = window // 2
    course = np.convolve(values, np.full(window, 1 / window), mode="valid")
    return values[half : len(values) - half] - course
