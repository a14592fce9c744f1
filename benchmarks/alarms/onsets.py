"""From which step on a loss goes wrong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.alarms.curves import Values, causal_median
from benchmarks.alarms.rules import Rules

_MAD = 1.4826
"""Robust standard deviation over median absolute deviation, under a normal distribution."""


@dataclass(frozen=True)
class Crossing:
    """Two positions of a series: where it starts to go, and where that is beyond doubt."""

    onset: int
    crossing: int


def divergence(smooth_loss: Values, first: float, best: float, rules: Rules) -> Crossing | None:
    """Return where a loss starts to diverge; None where it does not.

    It diverges where it rises by the threshold above its minimum so far and is not back within half of that
    by the end. The onset is the last step before, at which it was still near its minimum.

    Args:
        smooth_loss: Causal median of the loss, in nats.
        first: Loss of the first step.
        best: Best final loss of the family.
        rules: Thresholds.
    """
    if np.isnan(smooth_loss).all():
        return None
    threshold = max(rules.diverged, rules.diverged_share * (first - best))
    above = smooth_loss - np.fmin.accumulate(smooth_loss)
    # An excursion that came back is none: only the last one, which did not, counts.
    back = np.flatnonzero(above <= threshold / 2)
    since = int(back[-1]) + 1 if len(back) else 0
    crossed = np.flatnonzero(above[since:] >= threshold)
    if len(crossed) == 0:
        return None
    crossing = since + int(crossed[0])
    near = np.flatnonzero(above[:crossing] <= rules.within)
    return Crossing(int(near[-1]) if len(near) else 0, crossing)


def upper_envelope(healthy: list[Values], quantile: float) -> Values:
    """Return a quantile over healthy runs, step by step: of those that have come so far."""
    longest = max(map(len, healthy))
    padded = np.full((len(healthy), longest), np.nan)
    for row, values in zip(padded, healthy, strict=True):
        row[: len(values)] = values
    return np.asarray(np.nanquantile(padded, quantile, axis=0))


def leaves_for_good(smooth: Values, envelope: Values, above: float) -> int | None:
    """Return the first position from which a series stays more than ``above`` over an envelope to its end."""
    n = min(len(smooth), len(envelope))
    outside = smooth[:n] > envelope[:n] + above
    inside = np.flatnonzero(~outside)
    first = int(inside[-1]) + 1 if len(inside) else 0
    return first if first < n else None


def rises(values: Values, rules: Rules) -> NDArray[np.bool_]:
    """Return at which steps a loss rises over its own past: max(0.3 nat, 7 robust standard deviations).

    The past is the ``rise_window`` values before, or as many as there are from 8 on.
    """
    past = np.concatenate([[np.nan], causal_median(values, rules.rise_window)[:-1]])
    away = np.abs(values - past)
    spread = np.concatenate([[np.nan], _MAD * causal_median(away, rules.rise_window)[:-1]])
    found = values - past >= np.maximum(rules.rise, rules.rise_sigmas * spread)
    found[: min(8, len(found))] = False
    return np.asarray(found)


def loss_onset(values: Values, injected: int, rules: Rules) -> int | None:
    """Return the first position, from an injection's on, at which the loss itself rises or is not finite."""
    found = rises(values, rules) | np.isnan(values)
    later = np.flatnonzero(found[injected:])
    return injected + int(later[0]) if len(later) else None
