"""Families of runs that do not come back."""

import numpy as np

from benchmarks.detection.cases import Case, Event, case, family
from benchmarks.detection.log import Values
from benchmarks.detection.series import curve, gaussian, length, noisy_curve


def _end(loss: Values, first: int) -> Event:
    return Event(first, len(loss) - 1, open=True)


@family("divergence, finite")
def finite(rng: np.random.Generator) -> Case:
    """Within 20 to 150 points up to 6 to 10 nats, where it stays."""
    loss = noisy_curve(rng)
    first = int(rng.integers(len(loss) // 3, len(loss) - 250))
    width, height = rng.uniform(20, 150), rng.uniform(6, 10) - loss[first]
    t = np.arange(len(loss) - first)
    loss[first:] += height * (1 - np.exp(-3 * t / width))
    return case(loss, _end(loss, first))


@family("divergence to NaN")
def to_nan(rng: np.random.Generator) -> Case:
    """A climb of 10 to 60 points by 1 to 4 nats, then NaN."""
    loss = noisy_curve(rng)
    first = int(rng.integers(len(loss) // 3, len(loss) - 150))
    climb = int(rng.integers(10, 60))
    loss[first : first + climb] += rng.uniform(1, 4) * (np.arange(climb) / climb) ** 2
    loss[first + climb :] = np.nan
    return case(loss, _end(loss, first))


@family("NaN out of nothing")
def sudden_nan(rng: np.random.Generator) -> Case:
    """NaN from one point to the next, without a sign before."""
    loss = noisy_curve(rng)
    first = int(rng.integers(len(loss) // 3, len(loss) - 100))
    loss[first:] = np.nan
    return case(loss, _end(loss, first))


@family("Inf to the end")
def to_inf(rng: np.random.Generator) -> Case:
    """Growth by a tenth a point until it overflows."""
    loss = noisy_curve(rng)
    first = int(rng.integers(len(loss) // 3, len(loss) - 100))
    t = np.arange(len(loss) - first)
    loss[first:] += 0.1 * (1.1 ** np.minimum(t, 60) - 1)
    loss[first + 60 :] = np.inf
    return case(loss, _end(loss, first))


@family("slow creep")
def creep(rng: np.random.Generator) -> Case:
    """Up by 0.002 to 0.01 a point to the end, one to four nats in all."""
    n = length(rng)
    loss = curve(rng, n) + gaussian(rng, n)
    rise = rng.uniform(1.0, 4.0)
    first = n - int(min(rise / rng.uniform(0.002, 0.01), 0.6 * n))
    loss[first:] += rise * np.arange(n - first) / (n - first)
    return case(loss, _end(loss, first))


@family("plateau, then climb")
def plateau(rng: np.random.Generator) -> Case:
    """A flat loss for half of the run, then a climb by 15 to 60 % of it that does not end."""
    n = length(rng)
    first = int(n * rng.uniform(0.5, 0.7))
    level, top = rng.uniform(1.8, 4.0), rng.uniform(8.0, 11.0)
    loss = level + (top - level) * np.exp(-np.arange(n) / (0.04 * n)) + gaussian(rng, n)
    loss[first:] += level * rng.uniform(0.15, 0.6) * np.linspace(0, 1, n - first)
    return case(loss, _end(loss, first))


@family("parked at the unigram distribution")
def parked(rng: np.random.Generator) -> Case:
    """A fast fall to what token frequencies alone give, and no further; the batches' own is in the log.

    The event begins where the loss is within 0.3 nat of that entropy.
    """
    n, entropy, tau = int(rng.integers(400, 1200)), rng.uniform(3.0, 6.0), rng.uniform(5.0, 20.0)
    batch = entropy + gaussian(rng, n, 0.08)
    fall = rng.uniform(2.0, 5.0) * np.exp(-np.arange(n) / tau)
    loss = batch + fall + gaussian(rng, n, 0.01)
    return case(loss, _end(loss, int(np.argmax(fall < 0.3))), unigram_cross_entropy=batch)
