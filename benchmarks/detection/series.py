"""The pieces that made-up losses are put together from."""

import numpy as np

from benchmarks.detection.log import Values


def curve(rng: np.random.Generator, n: int) -> Values:
    """Return the smooth loss of a language model: a power law from 8 to 11 nats down to 1.8 to 3.5."""
    floor, first = rng.uniform(1.8, 3.3), rng.uniform(8.0, 11.0)
    scale, power = n * rng.uniform(0.01, 0.04), rng.uniform(0.5, 0.9)
    return floor + (first - floor) * (1 + np.arange(n) / scale) ** -power


def length(rng: np.random.Generator) -> int:
    """Return how many points a run has."""
    return int(rng.integers(800, 2500))


def gaussian(rng: np.random.Generator, n: int, sd: float = 0.04) -> Values:
    """Return Gaussian noise; its width varies between runs by half either way."""
    return rng.normal(0.0, sd * rng.uniform(0.5, 1.5), n)


def noisy_curve(rng: np.random.Generator) -> Values:
    """Return a healthy run with Gaussian noise."""
    n = length(rng)
    return curve(rng, n) + gaussian(rng, n)


def ar1(rng: np.random.Generator, n: int, coefficient: float) -> Values:
    """Return an AR(1) process of unit variance."""
    noise = rng.normal(0, (1 - coefficient**2) ** 0.5, n)
    noise[0] = rng.normal()
    return accumulate(noise, coefficient)


def smooth(values: Values, coefficient: float) -> Values:
    """Return the exponential average that starts at the first value."""
    kept = (1 - coefficient) * values
    kept[0] = values[0]
    return accumulate(kept, coefficient)


def accumulate(values: Values, coefficient: float) -> Values:
    """Return sums in which every step multiplies what is there by a coefficient."""
    found, total = np.empty(len(values)), 0.0
    for place, value in enumerate(values.tolist()):
        total = coefficient * total + value
        found[place] = total
    return found
