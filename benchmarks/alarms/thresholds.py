"""Thresholds chosen exactly, for a budget of false alarms on other runs.

At a threshold θ an episode starts at the steps whose held score is above θ while none of the ``MERGE`` steps
before was: for θ between the largest held score before and the step's own. The number of episodes is thus a
sum of intervals of θ, which sorting their ends gives for all θ at once. It is not monotone, since a lower
threshold may merge two episodes into one; what is chosen is the lowest threshold above which the budget is
kept throughout.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.alarms.announcing import HOLD, MERGE, Alarms, Scores, alarms, held
from benchmarks.alarms.exposure import healthy_steps
from benchmarks.alarms.folds import Fold
from benchmarks.alarms.labels import Labels

BUDGET = 0.5
"""False alarms in 1,000 healthy steps."""


@dataclass(frozen=True)
class Starts:
    """Between which thresholds an episode starts: from ``low`` on, below ``high``."""

    low: Scores
    high: Scores
    floor: float
    """Lowest held score; ∞ where there is none. Below it a method would always alarm."""

    @classmethod
    def of(cls, scores: Scores, counted: NDArray[np.bool_], hold: int = HOLD) -> "Starts":
        """Return the episodes that may start in the steps that are counted.

        Args:
            scores: Of one run.
            counted: At which steps a start would be a false alarm.
            hold: Steps in a row that a score has to be above its threshold.
        """
        high = held(scores, hold)
        padded = np.concatenate([np.full(MERGE, -np.inf), high[:-1]])
        low = np.lib.stride_tricks.sliding_window_view(padded, MERGE).max(axis=1)
        kept = (high > low) & counted[: len(high)]
        return cls(low[kept], high[kept], float(np.min(high, initial=np.inf, where=high > -np.inf)))

    @classmethod
    def together(cls, parts: Sequence["Starts"]) -> "Starts":
        """Return those of several runs as one."""
        empty = [np.empty(0)]
        return cls(
            np.concatenate([part.low for part in parts] or empty),
            np.concatenate([part.high for part in parts] or empty),
            min((part.floor for part in parts), default=np.inf),
        )

    def lowest(self, most: float) -> float:
        """Return the lowest threshold from which on at most ``most`` episodes start: a score, or ∞."""
        # Between two ends of intervals the number of episodes is the same.
        candidates = np.unique(np.concatenate([[self.floor], self.low[self.low > -np.inf], self.high]))
        begun = np.searchsorted(np.sort(self.low), candidates, side="right")
        ended = np.searchsorted(np.sort(self.high), candidates, side="right")
        over = np.flatnonzero(begun - ended > most)
        best = int(over[-1]) + 1 if len(over) else 0
        return float(candidates[best]) if best < len(candidates) else np.inf


@dataclass(frozen=True)
class Chosen:
    """A fold's threshold."""

    fold: str
    threshold: float
    trained_on: int
    """Healthy steps it was chosen on."""


@dataclass(frozen=True)
class Calibrated:
    """A method's alarms in every run, by a threshold chosen without that run."""

    alarms: Mapping[str, Alarms]
    """By the run's name."""
    chosen: tuple[Chosen, ...]
    armed: Mapping[str, int]
    """From which step on the score can alarm at all, by the run's name."""


def calibrate(
    scores: Mapping[str, Scores] | Callable[[Fold], Mapping[str, Scores]],
    labels: Labels,
    folds: Sequence[Fold],
    budget: float = BUDGET,
    hold: int = HOLD,
) -> Calibrated:
    """Return the alarms of a method whose score needs a threshold.

    Args:
        scores: One array a run, by name; or a function of the fold where the score itself is fitted to it.
        labels: Of the same runs.
        folds: For each a threshold is chosen on the healthy steps of its training runs, and held to on those
            left out.
        budget: Episodes in 1,000 healthy steps.
        hold: Steps in a row that a score has to be above its threshold.
    """
    fixed = None if callable(scores) else scores
    cache = {} if fixed is None else {name: _starts(name, fixed, labels, hold) for name in labels}
    found: dict[str, Alarms] = {}
    armed: dict[str, int] = {}
    chosen = []
    for fold in folds:
        of_fold = scores(fold) if callable(scores) else scores
        train = _healthy(fold.train, labels)
        parts = [cache[n] if cache else _starts(n, of_fold, labels, hold) for n in train]
        exposure = sum(int(healthy_steps(labels[name]).sum()) for name in train)
        threshold = Starts.together(parts).lowest(budget * exposure / 1000)
        chosen.append(Chosen(fold.name, threshold, exposure))
        for name in fold.held_out:
            found[name] = alarms(of_fold[name], threshold, hold)
            armed[name] = first_armed(of_fold[name], hold)
    return Calibrated(found, tuple(chosen), armed)


def first_armed(scores: Scores, hold: int = HOLD) -> int:
    """Return the first step at which a score could alarm; the run's length where it never can."""
    able = np.flatnonzero(held(scores, hold) > -np.inf)
    return int(able[0]) if len(able) else len(scores)


def _healthy(names: Collection[str], labels: Labels) -> list[str]:
    return sorted(name for name in names if healthy_steps(labels[name]).any())


def _starts(name: str, scores: Mapping[str, Scores], labels: Labels, hold: int) -> Starts:
    return Starts.of(scores[name], healthy_steps(labels[name]), hold)
