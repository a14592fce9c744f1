"""Spikes of runs that recover: small losses that swell and come back."""

from dataclasses import dataclass

import numpy as np

from benchmarks.alarms.curves import Values, causal_median
from benchmarks.alarms.rules import Rules


@dataclass(frozen=True)
class Hump:
    """Positions of one spike."""

    onset: int
    """Last step at which the loss was near its minimum."""
    crossing: int
    """First at which it is a hump."""
    peak: int
    recovery: int | None
    """First step at which the loss is near that minimum again; None where it is not in time."""


def humps(loss: Values, rules: Rules) -> tuple[Hump, ...]:
    """Return the spikes of a loss.

    One begins where the causal median of 5 is 2.5 times its minimum over the 64 steps before, if that minimum
    is below 1 nat; a larger minimum has to be exceeded by 0.3 nat and 7 robust standard deviations of the
    median's past. It lasts until the median is within half as much again of that minimum (within half of
    the rise, where the minimum is large).

    Args:
        loss: One value a step, in nats.
        rules: Thresholds.
    """
    smooth = causal_median(loss, rules.hump_smooth)
    low = _minimum_before(smooth, rules.rise_window)
    tops = np.where(low < rules.hump_below, rules.hump_factor * low, low + _rise(smooth, rules))
    near = np.where(low < rules.hump_below, rules.hump_back * low, (low + tops) / 2)
    found: list[Hump] = []
    at = 0
    while True:
        crossed = np.flatnonzero(smooth[at:] >= tops[at:])
        if len(crossed) == 0:
            return tuple(found)
        crossing = at + int(crossed[0])
        back = np.flatnonzero(smooth[crossing : crossing + rules.spike_back] <= near[crossing])
        recovery = crossing + int(back[0]) if len(back) else None
        end = recovery if recovery is not None else min(len(smooth), crossing + rules.spike_back)
        before = np.flatnonzero(smooth[at:crossing] <= near[crossing])
        onset = at + int(before[-1]) if len(before) else max(at, crossing - 1)
        peak = crossing + int(np.nanargmax(smooth[crossing:end]))
        found.append(Hump(onset, crossing, peak, recovery))
        if recovery is None:
            # What never came back is one event, however it goes on.
            return tuple(found)
        at = recovery


def _minimum_before(values: Values, window: int) -> Values:
    padded = np.concatenate([np.full(window, np.inf), np.where(np.isnan(values), np.inf, values)])
    found = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(values)].min(axis=1)
    return np.where(np.isinf(found), np.nan, found)


def _rise(smooth: Values, rules: Rules) -> Values:
    past = causal_median(smooth, rules.rise_window)
    spread = 1.4826 * causal_median(np.abs(smooth - past), rules.rise_window)
    before = np.concatenate([[np.nan], spread[:-1]])
    return np.asarray(np.fmax(rules.rise, rules.rise_sigmas * before))
