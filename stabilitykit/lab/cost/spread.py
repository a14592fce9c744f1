"""Medians with their spread, and ratios of paired times with their interval."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_DRAWS = 2000


class Spread(NamedTuple):
    """What several repeats took, in seconds."""

    median: float
    low: float
    """Lower quartile."""
    high: float
    """Upper quartile."""


class Ratio(NamedTuple):
    """What a list of paired ratios says."""

    median: float
    low: float
    """Lower end of the median's 95 % interval."""
    high: float
    """Upper end of it."""

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def spread(seconds: Sequence[float] | Float[np.ndarray, "repeats"]) -> Spread:
    """Return the quartiles of repeats.

    Args:
        seconds: One or more.
    """
    low, median, high = np.percentile(seconds, [25, 50, 75])
    return Spread(float(median), float(low), float(high))


def median_ratio(times: Float[np.ndarray, "rounds"], other: Float[np.ndarray, "rounds"]) -> Ratio:
    """Return the median of the ratios of paired times, with its bootstrap interval over rounds.

    Args:
        times: Of one thing, a round each.
        other: Of the other, in the same rounds.
    """
    ratios = times / other
    draws = np.random.default_rng(0).integers(0, len(ratios), (_DRAWS, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5])
    return Ratio(float(np.median(ratios)), float(low), float(high))
