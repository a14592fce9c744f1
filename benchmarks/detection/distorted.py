"""Families in which spikes must be found although the log is odd: its scale, its steps, its rounding."""

import numpy as np

from benchmarks.detection.cases import Case, Event, case, family
from benchmarks.detection.series import ar1, curve, gaussian, noisy_curve, smooth
from benchmarks.detection.spikes import isolated, spread_places, with_single_spikes


def _scaled(rng: np.random.Generator, factor: float) -> Case:
    made = isolated(rng)
    return case(made.log.loss * factor, *made.events)


@family("spikes, tiny scale")
def tiny(rng: np.random.Generator) -> Case:
    """Isolated spikes in a loss a million times smaller."""
    return _scaled(rng, 1e-6)


@family("spikes, huge scale")
def huge(rng: np.random.Generator) -> Case:
    """Isolated spikes in a loss a million times larger."""
    return _scaled(rng, 1e6)


@family("spikes, heavy tails")
def tails(rng: np.random.Generator) -> Case:
    """Spikes of 30 to 100 % among Student's t noise; tails above 8 % are ignored."""
    level = curve(rng, int(rng.integers(800, 2500)))
    loss = level * (1 + rng.uniform(0.004, 0.008) * rng.standard_t(3, len(level)))
    places = spread_places(rng, 150, len(loss) - 50, 3, 80)
    high = np.setdiff1d(np.flatnonzero(loss > 1.08 * level), places)
    loss[places] = level[places] * rng.uniform(1.3, 2.0, 3)
    made = case(loss, *(Event(int(p), int(p)) for p in places))
    return Case(made.log, made.events, tuple((int(p), int(p)) for p in high))


@family("spikes, autocorrelated noise")
def autocorrelated(rng: np.random.Generator) -> Case:
    """Isolated spikes of 25 to 100 % in AR(1) noise of 1 %."""
    level = curve(rng, int(rng.integers(800, 2500)))
    loss = level * (1 + 0.01 * ar1(rng, len(level), 0.9))
    places = spread_places(rng, 150, len(loss) - 50, 3, 80)
    loss[places] *= 1 + rng.uniform(0.25, 1.0, 3)
    return case(loss, *(Event(int(p), int(p)) for p in places))


@family("spikes, smoothed log")
def smoothed(rng: np.random.Generator) -> Case:
    """Spikes of one point seen through an exponential average: a jump, and a slow way back."""
    loss, coefficient = noisy_curve(rng), rng.uniform(0.7, 0.9)
    places = spread_places(rng, 150, len(loss) - 150, 3, 120)
    loss[places] *= rng.uniform(3.0, 6.0, 3)
    # Until 5 % of the jump are left.
    width = int(np.log(0.05) / np.log(coefficient))
    return case(smooth(loss, coefficient), *(Event(int(p), int(p) + width) for p in places))


@family("spikes, quantised")
def quantised(rng: np.random.Generator) -> Case:
    """Isolated spikes in a log of two decimals."""
    made = isolated(rng)
    return case(np.round(made.log.loss, 2), *made.events)


@family("spikes, constant loss")
def constant(rng: np.random.Generator) -> Case:
    """Spikes of 30 to 100 % in a loss without any noise."""
    loss = np.full(1000, rng.uniform(0.5, 5.0))
    places = spread_places(rng, 150, 950, 3, 80)
    loss[places] *= rng.uniform(1.3, 2.0, 3)
    return case(loss, *(Event(int(p), int(p)) for p in places))


@family("spikes, 30 points")
def short(rng: np.random.Generator) -> Case:
    """One spike in a run of 30 points, from point 20 on."""
    loss = 3 + 0.5 * np.exp(-np.arange(30) / 10) + gaussian(rng, 30, 0.03)
    return with_single_spikes(rng, loss, rng.integers(20, 27, 1))


@family("spikes near zero")
def near_zero(rng: np.random.Generator) -> Case:
    """Jumps to 0.3 to 3 nats from a loss of 1e-4 to 1e-2, over 2 to 5 points."""
    n = 1000
    loss = 5 * np.exp(-np.arange(n) / 15) + 10 ** rng.uniform(-4, -2) * np.exp(rng.normal(0, 0.2, n))
    places, widths = spread_places(rng, 250, n - 50, 3, 100), rng.integers(2, 6, 3)
    for place, width in zip(places, widths, strict=True):
        loss[place : place + width] += rng.uniform(0.3, 3.0)
    return case(loss, *(Event(int(p), int(p + w - 1)) for p, w in zip(places, widths, strict=True)))


@family("spikes, logging interval changes")
def interval(rng: np.random.Generator) -> Case:
    """Every 10th step is logged in the first half, every step in the second: the slope per point changes."""
    n = 1600
    steps = np.concatenate([10 * np.arange(n // 2), 10 * (n // 2) + np.arange(n // 2)])
    level = curve(rng, int(steps[-1]) + 1)[steps]
    loss = level + gaussian(rng, n)
    places = np.concatenate([spread_places(rng, 150, 750, 2, 80), spread_places(rng, 850, 1550, 2, 80)])
    made = with_single_spikes(rng, loss, places)
    return case(made.log.loss, *made.events, steps=steps)


@family("spikes, restart with repeated steps")
def repeated(rng: np.random.Generator) -> Case:
    """The run falls back by 20 to 100 steps to a checkpoint, and its log holds these steps twice."""
    n, back = 1500, int(rng.integers(20, 100))
    at = int(rng.integers(600, 900))
    steps = np.concatenate([np.arange(at), np.arange(at - back, n)])
    loss = curve(rng, n)[steps] + gaussian(rng, len(steps))
    early, late = spread_places(rng, 150, at - 150, 2, 80), spread_places(rng, at + 150, n - 50, 2, 80)
    made = with_single_spikes(rng, loss, np.concatenate([early, late]))
    return case(made.log.loss, *made.events, steps=steps)


@family("spikes, restart with missing steps")
def missing(rng: np.random.Generator) -> Case:
    """A hole of 100 to 500 steps in the log, over which the loss has fallen."""
    n, hole = 1500, int(rng.integers(100, 500))
    steps = np.arange(n)
    steps[n // 2 :] += hole
    loss = curve(rng, n + hole)[steps] + gaussian(rng, n)
    places = np.concatenate([spread_places(rng, 150, 700, 2, 80), spread_places(rng, 800, n - 50, 2, 80)])
    made = with_single_spikes(rng, loss, places)
    return case(made.log.loss, *made.events, steps=steps)
