"""Families of healthy runs that look restless."""

import numpy as np

from benchmarks.detection.cases import Case, case, family
from benchmarks.detection.log import Values
from benchmarks.detection.series import ar1, curve, gaussian, length, smooth

VISIBLE = 0.08
"""A single value that stands higher above the curve, as a share of it, is seen as a spike by anybody."""


def _with_tails(level: Values, loss: Values) -> Case:
    """Return the run, with values of the noise that anybody would call a spike ignored."""
    high = np.flatnonzero(loss > level * (1 + VISIBLE))
    made = case(loss)
    return Case(made.log, (), tuple((int(p), int(p)) for p in high))


@family("healthy, Gaussian noise")
def plain(rng: np.random.Generator) -> Case:
    """A power law with Gaussian noise."""
    n = length(rng)
    return case(curve(rng, n) + gaussian(rng, n))


@family("healthy, heavy tails")
def tails(rng: np.random.Generator) -> Case:
    """Student's t with 3 degrees of freedom, scaled by 0.4 to 0.8 % of the loss."""
    level = curve(rng, length(rng))
    loss = level * (1 + rng.uniform(0.004, 0.008) * rng.standard_t(3, len(level)))
    return _with_tails(level, loss)


@family("healthy, multiplicative noise")
def multiplicative(rng: np.random.Generator) -> Case:
    """Lognormal factors of 1 to 5 %: small batches."""
    level = curve(rng, length(rng))
    return case(level * np.exp(rng.normal(0, rng.uniform(0.01, 0.05), len(level))))


@family("healthy, autocorrelated noise")
def autocorrelated(rng: np.random.Generator) -> Case:
    """An AR(1) process of 0.5 to 2 % with coefficient 0.8 to 0.97."""
    level = curve(rng, length(rng))
    return case(level * (1 + rng.uniform(0.005, 0.02) * ar1(rng, len(level), rng.uniform(0.8, 0.97))))


@family("healthy, smoothed log")
def smoothed(rng: np.random.Generator) -> Case:
    """An exponential average of a noisy loss, as dashboards write it."""
    n = length(rng)
    return case(smooth(curve(rng, n) + gaussian(rng, n, 0.1), rng.uniform(0.8, 0.98)))


@family("healthy, fast fall")
def fast_fall(rng: np.random.Generator) -> Case:
    """From 11 to 2 within 30 to 80 points, then flat."""
    n = length(rng)
    return case(rng.uniform(1.5, 3) + 9 * np.exp(-np.arange(n) / rng.uniform(10, 30)) + gaussian(rng, n))


@family("healthy, slow swings of 10 to 25 %")
def swings(rng: np.random.Generator) -> Case:
    """Two swings of changing period, 10 to 25 % from trough to crest, as in fine-tuning over mixed data."""
    n = int(rng.integers(400, 1500))
    t, period = np.arange(n), rng.uniform(60, 250)
    wave = 0.7 * np.sin(2 * np.pi * (t / period + rng.uniform())) + 0.3 * np.sin(5 * t / period)
    level = rng.uniform(0.4, 2.5) * (1 + 0.5 * np.exp(-t / 50))
    return case(level * (1 + 0.5 * rng.uniform(0.10, 0.25) * wave + rng.normal(0, 0.015, n)))


@family("healthy, epochs step down")
def epochs(rng: np.random.Generator) -> Case:
    """A fall by 5 to 15 % at each of four epochs' ends."""
    n = length(rng)
    step = (1 - rng.uniform(0.05, 0.15)) ** (np.arange(n) // (n // 5 + 1))
    return case(curve(rng, n) * step + gaussian(rng, n, 0.03))


@family("healthy, saw-tooth of epochs")
def saw_tooth(rng: np.random.Generator) -> Case:
    """Within each epoch up by 3 to 6 %, then down at once: data in a fixed order."""
    n = length(rng)
    period = n // int(rng.integers(4, 9))
    phase = (np.arange(n) % period) / period
    return case(curve(rng, n) * (1 + rng.uniform(0.03, 0.06) * phase) + gaussian(rng, n, 0.03))


@family("healthy, small step up at an epoch")
def step_up(rng: np.random.Generator) -> Case:
    """One step up by 2 to 4 %, other data, from which the loss falls on."""
    n = length(rng)
    up = np.where(np.arange(n) >= n // 2, 1 + rng.uniform(0.02, 0.04), 1.0)
    return case(curve(rng, n) * up + gaussian(rng, n, 0.02))


@family("healthy, learning rate decays")
def decay(rng: np.random.Generator) -> Case:
    """A kink down where the learning rate begins its decay, over the last fifth."""
    n = length(rng)
    lr = 3e-4 * np.minimum(1.0, (n - np.arange(n)) / (0.2 * n))
    fall = rng.uniform(0.05, 0.12) * (1 - lr / 3e-4)
    return case(curve(rng, n) * (1 - fall) + gaussian(rng, n), lr=lr)


@family("healthy, warm restarts")
def warm_restarts(rng: np.random.Generator) -> Case:
    """A cosine that starts anew twice: the loss rises by 2 to 6 % within 20 to 60 points, and falls again."""
    n = length(rng)
    phase = (np.arange(n) % (n // 3 + 1)) / (n // 3 + 1)
    lr = 3e-4 * 0.5 * (1 + np.cos(np.pi * phase))
    lag = rng.uniform(20, 60)
    felt = lr.copy()
    for place in range(1, n):
        felt[place] = felt[place - 1] + (lr[place] - felt[place - 1]) / lag
    level = curve(rng, n) * (1 + rng.uniform(0.02, 0.06) * felt / 3e-4)
    return case(level + gaussian(rng, n, 0.03), lr=lr)


@family("healthy, grokking")
def grokking(rng: np.random.Generator) -> Case:
    """From 5 nats through decades to 1e-4, with lognormal noise: ripples of nearly nothing are no events."""
    n = length(rng)
    level = 5.0 * np.exp(-np.log(5e4) / (1 + np.exp(-(np.arange(n) / n - 0.5) * 12)))
    return case(level * np.exp(rng.normal(0, rng.uniform(0.05, 0.3), n)))


@family("healthy, constant")
def constant(rng: np.random.Generator) -> Case:
    """The same number throughout."""
    return case(np.full(length(rng), rng.uniform(0.1, 10)))


@family("healthy, 30 points")
def short(rng: np.random.Generator) -> Case:
    """A whole run of 30 points."""
    return case(curve(rng, 30) + gaussian(rng, 30))


@family("healthy, quantised")
def quantised(rng: np.random.Generator) -> Case:
    """A flat loss with two or three decimals, so that most steps repeat a value."""
    n = length(rng)
    decimals = int(rng.integers(2, 4))
    return case(np.round(curve(rng, n) + gaussian(rng, n, 0.3 * 10.0**-decimals), decimals))
