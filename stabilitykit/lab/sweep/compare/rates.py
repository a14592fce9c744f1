"""What a grid of learning rates says, seed by seed: sensitivity, the largest stable rate, the best one."""

import math
from collections.abc import Sequence
from itertools import dropwhile
from statistics import fmean

from stabilitykit.lab.sweep.compare.intervals import Bracket
from stabilitykit.lab.sweep.compare.results import LR, Results, by_seed
from stabilitykit.lab.sweep.grid import SweepRun


def lr_sensitivities(results: Results, runs: Sequence[SweepRun], lrs: Sequence[float]) -> dict[int, float]:
    """Return the LR sensitivity of each seed (2309.14322 Eq. 1), in nats.

    It is the mean over the grid of min(loss, l0), less the best of these; l0 is the loss at initialization,
    and with it counts a run whose loss is not a number. It depends on the grid's ends and spacing, which
    should be even in the logarithm: always tell the grid.

    Args:
        results: Of the whole sweep.
        runs: Those of one setting of the other axes.
        lrs: The grid; two rates at least. A seed counts only where all of them have ended.
    """
    found: dict[int, float] = {}
    for seed, mine in by_seed(runs).items():
        losses = {run.cell.values[LR]: results.loss(run) for run in mine}
        grid = [loss for lr in lrs if (loss := losses.get(lr)) is not None]
        if len(grid) == len(lrs) >= 2:
            found[seed] = math.fsum(loss - min(grid) for loss in grid) / len(grid)
    return found


def stable_lr_maxima(results: Results, runs: Sequence[SweepRun]) -> dict[int, Bracket]:
    """Return for each seed the largest learning rate up to which all of the grid are stable.

    Rates at the grid's lower end at which nothing breaks and too little is learnt are passed over. A rate
    that is stable above one that is not does not count. What is sought lies between the last stable
    rate and the first that is not; without such a one nothing bounds it from above. If the lowest rate is
    not stable, nothing bounds it from below, and one spacing of the grid below it is the value. A seed is
    left out while a rate below its first failure has not ended.

    Args:
        results: Of the whole sweep.
        runs: Those of one setting of the other axes, ended or not.
    """
    found = {seed: _frontier(results, mine) for seed, mine in by_seed(runs).items()}
    return {seed: bracket for seed, bracket in found.items() if bracket is not None}


def _frontier(results: Results, runs: Sequence[SweepRun]) -> Bracket | None:
    runs = sorted(runs, key=lambda run: float(run.cell.values[LR]))
    runs = list(dropwhile(results.slow, runs))
    lrs = [float(run.cell.values[LR]) for run in runs]
    for at, run in enumerate(runs):
        if run.result is None:
            return None
        if results.stable(run):
            continue
        if at:
            return Bracket(lrs[at - 1], lrs[at - 1], lrs[at])
        return Bracket(0.0, lrs[0] ** 2 / lrs[1], lrs[0]) if len(lrs) > 1 else None
    return Bracket(lrs[-1], lrs[-1], math.inf) if lrs else None


def best_rate(results: Results, runs: Sequence[SweepRun]) -> tuple[float | None, dict[int, float]]:
    """Return the learning rate with the lowest mean loss over seeds, and each seed's loss there, in nats.

    Only rates that have ended for the most seeds are candidates; of equals the lowest is taken. Losses
    count as min(loss, l0). The best of many is a little too good: its interval does not know that it was
    chosen.

    Args:
        results: Of the whole sweep.
        runs: Those of one setting of the other axes.
    """
    losses: dict[float, dict[int, float]] = {}
    for run in runs:
        loss = results.loss(run)
        if loss is not None:
            losses.setdefault(float(run.cell.values[LR]), {})[run.cell.seed] = loss
    if not losses:
        return None, {}
    most = max(map(len, losses.values()))
    full = {lr: seeds for lr, seeds in losses.items() if len(seeds) == most}
    best = min(full, key=lambda lr: (fmean(full[lr].values()), lr))
    return best, full[best]
