"""Peers' rules that compare the loss with its mean and scatter; written anew from their formulas."""

import numpy as np

from benchmarks.detection.log import Values
from benchmarks.detection.peer_ratios import Flags
from benchmarks.detection.windows import (
    deviation,
    growing,
    mean,
    median,
    robust_deviation,
    sample_deviation,
    trailing,
)


def olmo_spike_score(loss: Values, sigmas: float = 7.0, window: int = 1000, least: int = 50) -> Flags:
    """Flag as the spike score of OLMo 2 counts (arXiv 2501.00656, section 3).

    A spike is a value at least ``sigmas`` standard deviations away from the mean of the last ``window``
    values. The paper does not say what holds before there are that many; here all values so far are taken,
    from ``least`` on, the smallest number at which 7 deviations are within reach.
    """
    center, scatter = growing(loss, least, window, mean), growing(loss, least, window, deviation)
    return (scatter > 0) & (np.abs(loss - center) >= sigmas * scatter)


def olmo_monitor(loss: Values, sigmas: float = 6.0, window: int = 128) -> Flags:
    """Flag as OLMo-core 3.0.0 does, ``StabilityMonitorCallback`` with its defaults, on the loss.

    A spike exceeds the mean of the last ``window`` values, a full window, by more than ``sigmas`` standard
    deviations; never where these are below 1e-10.
    """
    center, scatter = trailing(loss, window, mean), trailing(loss, window, deviation)
    return (scatter >= 1e-10) & (loss > center + sigmas * scatter)


def olmo_skip_step(loss: Values, sigmas: float = 6.0, window: int = 128) -> Flags:
    """Flag the steps that OLMo-core 3.0.0 skips, ``SkipStepOptimizer.get_step_factor``, for their loss.

    From half a window on, a step is skipped unless its loss is within ``sigmas`` sample standard deviations
    of the mean of the last ``window`` losses. A loss that is not a number makes every comparison false as
    long as it is in the window, so steps are skipped all that time.
    """
    least = max(2, window // 2) - 1
    center = growing(loss, least, window, mean)
    scatter = growing(loss, least, window, sample_deviation)
    flags: Flags = ~(loss - center <= sigmas * scatter)
    flags[:least] = False
    return flags


def zclip(
    values: Values, threshold: float = 2.5, alpha: float = 0.97, warmup: int = 25, epsilon: float = 1e-6
) -> Flags:
    """Flag what ZClip 1.0.0 clips (arXiv 2504.02507), ``zclip.ZClip`` with its defaults.

    Mean and variance are those of the first ``warmup`` values, then exponential averages. A value with a
    z-score above ``threshold`` is flagged and enters the averages as mean + threshold² · deviation / z. A
    value that is not a number makes the averages so for good.
    """
    flags = np.zeros(len(values), dtype=bool)
    if len(values) <= warmup:
        return flags
    center, variance = float(values[:warmup].mean()), float(values[:warmup].var())
    for place in range(warmup, len(values)):
        value, scatter = float(values[place]), variance**0.5
        z = (value - center) / (scatter + epsilon)
        if z > threshold:
            flags[place] = True
            value = center + threshold * scatter / (z / threshold)
        center = alpha * center + (1 - alpha) * value
        variance = alpha * variance + (1 - alpha) * (value - center) ** 2
    return flags


def trainscope_cusum(
    loss: Values, limit: float = 6.0, slack: float = 1.0, window: int = 200, least: int = 30
) -> Flags:
    """Flag as trainscope 1.8.1 does by default, ``ChangePointDetector`` (Page's CUSUM, both ways).

    z is the distance to the median of the last ``window`` finite values, over 1.4826 MAD. Two sums gather
    z - slack above zero and z + slack below it; either one at ``limit`` is a spike and clears both.
    """
    finite = np.isfinite(loss)
    values = loss[finite]
    center = growing(values, least, window, median)
    scatter = growing(values, least, window, robust_deviation)
    found = np.zeros(len(values), dtype=bool)
    up = down = 0.0
    for place in range(least, len(values)):
        z = float((values[place] - center[place]) / max(scatter[place], 1e-12))
        up, down = max(0.0, up + z - slack), min(0.0, down + z + slack)
        if up >= limit or -down >= limit:
            found[place], up, down = True, 0.0, 0.0
    return _spread(found, finite)


def trainscope_z(loss: Values, threshold: float = 3.5, window: int = 200, least: int = 30) -> Flags:
    """Flag as trainscope 1.8.1's ``ZScoreDetector`` does with its defaults, in both directions.

    Flagged is a value more than ``threshold`` sample standard deviations from the mean of the last
    ``window`` finite values, and any other value after a window without scatter.
    """
    finite = np.isfinite(loss)
    values = loss[finite]
    center = growing(values, least, window, mean)
    scatter = growing(values, least, window, sample_deviation)
    return _spread(np.abs(values - center) > threshold * scatter, finite)


def median_and_mad(
    loss: Values, sigmas: float = 6.0, base: int = 9, window: int = 101, least: int = 16
) -> Flags:
    """Flag by a plain robust rule that looks at past values only; of no peer, and a yardstick.

    Flagged is a value that is not finite, or stands above the median of the last ``base`` values by more than
    ``sigmas`` noise widths. The noise is 1.4826 MAD of the last ``window`` differences of a value to the
    median before it, from ``least`` differences on. Nothing is kept out of either window.
    """
    finite = np.isfinite(loss)
    values = loss[finite]
    center = trailing(values, base, median)
    rise = values - center
    noise = np.full(len(values), np.nan)
    noise[base:] = growing(rise[base:], least, window, robust_deviation)
    return _spread(rise > sigmas * noise, finite) | ~finite


def _spread(found: Flags, finite: Flags) -> Flags:
    """Put flags of the finite values back to their places."""
    flags = np.zeros(len(finite), dtype=bool)
    flags[finite] = found
    return flags
