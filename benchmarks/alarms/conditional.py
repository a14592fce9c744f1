"""What a score knows beyond the configuration: seeds of one setting, of which some fail and some hold."""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.alarms.announcing import Scores
from benchmarks.alarms.config_only import running_maximum
from benchmarks.alarms.intervals import DRAWS, percentiles
from benchmarks.alarms.labels import FAILED, Kind, Label, Labels
from stabilitykit.lab.sweep.compare.intervals import Estimate

STEPS = (5, 10, 20, 30, 40)
"""Up to which the maximum of a score is taken."""


@dataclass(frozen=True)
class Conditional:
    """How well a score tells failing from surviving seeds of the same setting."""

    step: int
    auc: Estimate
    """Share of pairs in which the failing seed scores higher, ties as half; bootstrapped over settings."""
    pairs: int
    settings: int
    """Settings with mixed outcomes that had such pairs."""


def conditional_auc(
    scores: Mapping[str, Scores],
    labels: Labels,
    before_onset: bool = True,
    steps: tuple[int, ...] = STEPS,
    seed: int = 0,
) -> tuple[Conditional, ...]:
    """Return the area under the curve at equal configuration and learning rate, by how early it is read.

    A score that only knows the learning rate has 0.5 here, however well it does over all runs.

    Args:
        scores: By the run's name; larger is worse.
        labels: Of natural runs; grey ones are in no pair.
        before_onset: Whether only failures are paired whose onset is after the step. Without, the later
            steps of early failures are detection, not forecast.
        steps: Up to which the maximum is taken.
        seed: Of the bootstrap.
    """
    by_setting: dict[Hashable, list[Label]] = defaultdict(list)
    for label in labels.values():
        if label.kind in FAILED or label.kind is Kind.HEALTHY:
            by_setting[label.setting].append(label)
    found = []
    for step in steps:
        maxima = running_maximum(scores, step)
        wins = [_pairs(members, maxima, step if before_onset else -1) for members in by_setting.values()]
        found.append(_auc(step, [each for each in wins if each.size], seed))
    return tuple(found)


def _pairs(members: list[Label], maxima: Mapping[str, float], after: int) -> NDArray[np.float64]:
    """Return of each pair whether the failing run scores higher: 1, 0, or half for a tie."""
    failing = [maxima[m.name] for m in members if m.kind in FAILED and m.events[0].onset > after]
    holding = [maxima[m.name] for m in members if m.kind is Kind.HEALTHY]
    # A score that cannot say yet is no alarm: it ties with another such, and is below any number.
    low, high = (
        np.nan_to_num(np.array(each, float), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        for each in (holding, failing)
    )
    return np.asarray((high[:, None] > low) + 0.5 * (high[:, None] == low), np.float64).ravel()


def _auc(step: int, wins: list[NDArray[np.float64]], seed: int) -> Conditional:
    pairs = np.array([len(each) for each in wins], float)
    if len(pairs) == 0:
        return Conditional(step, Estimate(None, None, None, 0), 0, 0)
    won = np.array([each.sum() for each in wins])
    drawn = np.random.default_rng(seed).multinomial(len(wins), np.full(len(wins), 1 / len(wins)), DRAWS)
    auc = percentiles(float(won.sum() / pairs.sum()), (drawn @ won) / (drawn @ pairs), int(pairs.sum()))
    if len(wins) < 2:
        # One setting alone says nothing of how settings differ.
        auc = Estimate(auc.value, None, None, auc.n)
    return Conditional(step, auc, int(pairs.sum()), len(wins))
