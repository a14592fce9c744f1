"""Every number that labels hang on, and other choices of them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """When a run counts as failed, and from which step on. Losses are in nats, shares in parts of a run."""

    smooth: int = 7
    """Steps of the causal median that onsets are read from."""
    last: float = 0.05
    """Share of the steps at the end whose mean is a run's final loss."""
    parked: float = 0.1
    """STUCK: the final loss is less than this below the batches' unigram cross-entropy."""
    degraded: float = 0.5
    """DEGRADED: the final loss is at least this above the best of the family."""
    healthy: float = 0.3
    """HEALTHY: at most this above it; GREY is what lies between."""
    too_late: float = 0.1
    """A DEGRADED run whose onset is in this last share of its steps is GREY: it is merely higher."""
    envelope: float = 0.95
    """Quantile, step by step, of the good runs that a failing one leaves."""
    good: float = 0.1
    """Good: a healthy run at most this above the best. Slow ones, whose rate is small, stay longer on the
    first plateau, and would put every onset at its end."""
    above: float = 0.3
    """How far above it."""
    least_healthy: int = 3
    """Healthy runs that an envelope needs; the best of them where fewer are good."""
    least_rates: int = 3
    """Learning rates that must have been tried before a family's best counts, however bad."""
    diverged: float = 0.5
    """DIVERGED: the smoothed loss rises at least this above its minimum..."""
    diverged_share: float = 0.15
    """...and at least this share of the way from the first loss to the best final one."""
    within: float = 0.1
    """The onset of DIVERGED is the last step so near to the minimum."""
    rise: float = 0.3
    """A loss rises of its own accord when it is at least this above the median of its past..."""
    rise_sigmas: float = 7.0
    """...and at least this many robust standard deviations."""
    rise_window: int = 64
    """Steps of that past."""
    hump_smooth: int = 5
    """Steps of the causal median that humps are read from."""
    hump_factor: float = 2.5
    """A hump: the median is this many times its minimum over ``rise_window`` steps..."""
    hump_below: float = 1.0
    """...where that minimum is smaller than this; a larger one has to be left by ``rise``."""
    hump_back: float = 1.5
    """A hump starts and ends where the median is within this factor of the minimum."""
    spike_back: int = 200
    """Steps after which a spike that has not recovered counts as not recovering."""


VARIANTS: Mapping[str, Rules] = {
    "as stated": Rules(),
    "degraded from 0.3": Rules(degraded=0.3),
    "degraded from 0.8": Rules(degraded=0.8),
    "envelope + 0.2": Rules(above=0.2),
    "envelope + 0.5": Rules(above=0.5),
    "final 10 %": Rules(last=0.1),
    "envelope of all healthy runs": Rules(good=0.3),
}
"""Other choices under which the headline is repeated."""
