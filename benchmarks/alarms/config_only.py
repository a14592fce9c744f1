"""Failures foretold from the configuration alone, and what a signal adds to that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.alarms.announcing import Scores
from benchmarks.alarms.curves import Trained
from benchmarks.alarms.folds import Fold
from benchmarks.alarms.intervals import Resamples, percentiles
from benchmarks.alarms.labels import FAILED, Kind, Labels
from benchmarks.alarms.logistic import Logistic, fit, log_likelihood
from stabilitykit.lab.sweep.compare.intervals import Estimate

Numbers = NDArray[np.float64]


def features(runs: Sequence[Trained]) -> Numbers:
    """Return one row a run: log LR, warmup, QK-norm, log depth, clip, and which placement and optimizer.

    Args:
        runs: All of them, so that every row has the same placements and optimizers.
    """
    arches = sorted({run.arch for run in runs})
    optimizers = sorted({run.optimizer for run in runs})
    return np.array(
        [
            [
                math.log(run.lr),
                run.warmup / len(run.steps),
                run.config["model"]["attention"]["qk_norm"] != "none",
                math.log(run.n_layers),
                run.config["trainer"]["clip"] is not None,
                *(run.arch == arch for arch in arches),
                *(run.optimizer == optimizer for optimizer in optimizers),
            ]
            for run in runs
        ],
        np.float64,
    )


class ConfigOnly:
    """Logistic regression on the configuration, fitted to the training runs of each fold.

    Args:
        runs: Natural ones.
        labels: Theirs. Grey runs are scored but not learnt from.
    """

    def __init__(self, runs: Sequence[Trained], labels: Labels) -> None:
        self._row = {run.name: place for place, run in enumerate(runs)}
        self._features = features(runs)
        self._labels = labels

    def scores(self, fold: Fold) -> Mapping[str, Scores]:
        """Return each run's log odds of failing, the same at every step; for ``calibrate``."""
        train = sorted(name for name in fold.train if self._counts(name))
        odds = self._fit(self._features, train).log_odds(self._features)
        return {
            name: np.full(self._labels[name].n_steps, odds[self._row[name]])
            for name in fold.train | fold.held_out
        }

    def gain(
        self,
        folds: Sequence[Fold],
        maxima: Mapping[str, float],
        after: int,
        resamples: Resamples,
    ) -> "Gain":
        """Return what a signal's maximum over the first steps adds to the configuration.

        Only runs that still have it before them are looked at: a failure whose onset was by then is no
        forecast. The signal enters by its rank among the training runs, which bounds what outliers do.

        Args:
            folds: Models are fitted on their training runs and judged on those held out.
            maxima: The signal's maximum over steps 0 to ``after``, by run; NaN where there is none.
            after: Last of those steps.
            resamples: Of the same runs.
        """
        names: list[str] = []
        plain: list[Numbers] = []
        with_signal: list[Numbers] = []
        for fold in folds:
            train = sorted(name for name in fold.train if self._counts(name, after))
            held = sorted(name for name in fold.held_out if self._counts(name, after))
            if not train or not held:
                continue
            x = np.column_stack([self._features, self._ranks(train, maxima)])
            names += held
            plain.append(self._judge(x[:, :-1], train, held))
            with_signal.append(self._judge(x, train, held))
        if not names:
            return Gain(0, 0, np.nan, np.nan, Estimate(None, None, None, 0))
        before, now = np.concatenate(plain), np.concatenate(with_signal)
        cluster = [resamples.cluster[name] for name in names]
        weights = resamples.weights[:, cluster]
        totals = weights.sum(axis=1)
        drawn = np.divide(
            weights @ (now - before), totals, out=np.full(len(totals), np.nan), where=totals > 0
        )
        events = sum(self._labels[name].kind in FAILED for name in names)
        gain = percentiles(float((now - before).mean()), drawn, len(names))
        return Gain(len(names), events, float(before.mean()), float(now.mean()), gain)

    def _counts(self, name: str, after: int = -1) -> bool:
        label = self._labels[name]
        if label.kind in FAILED:
            return label.events[0].onset > after
        return label.kind is Kind.HEALTHY

    def _failed(self, names: Sequence[str]) -> NDArray[np.bool_]:
        return np.array([self._labels[name].kind in FAILED for name in names])

    def _fit(self, x: Numbers, train: Sequence[str]) -> Logistic:
        return fit(x[[self._row[name] for name in train]], self._failed(train))

    def _judge(self, x: Numbers, train: Sequence[str], held: Sequence[str]) -> Numbers:
        odds = self._fit(x, train).log_odds(x[[self._row[name] for name in held]])
        return log_likelihood(odds, self._failed(held))

    def _ranks(self, train: Sequence[str], maxima: Mapping[str, float]) -> Numbers:
        """Return where each maximum stands among those of the training runs, 0 to 1; 0.5 where unknown."""
        known = np.sort([maxima[name] for name in train if not np.isnan(maxima[name])])
        values = np.array([maxima.get(name, np.nan) for name in self._row])
        if len(known) == 0:
            return np.full(len(values), 0.5)
        middle = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
        return np.where(np.isnan(values), 0.5, middle / (2 * len(known)))


@dataclass(frozen=True)
class Gain:
    """Mean log-likelihood of held-out outcomes, in nats a run."""

    runs: int
    events: int
    config: float
    """From the configuration alone."""
    with_signal: float
    gain: Estimate
    """Of the signal."""


def running_maximum(scores: Mapping[str, Scores], to: int) -> dict[str, float]:
    """Return each run's largest score from step 0 to ``to``; NaN where there is none."""
    return {
        name: float(np.nanmax(values[: to + 1])) if np.any(~np.isnan(values[: to + 1])) else np.nan
        for name, values in scores.items()
    }
