"""How sure a figure is: families are resampled, not runs, and many signals are looked at."""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.alarms.labels import Label, Labels
from stabilitykit.lab.sweep.compare.intervals import Estimate, wilson

DRAWS = 2000
"""Resamples."""
FEW_FAMILIES = 5
"""Below this many families of a placement their resamples say little: its settings are resampled instead."""
FEW_EVENTS = 20
"""Below this many a share has Wilson's interval."""

Draws = NDArray[np.float64]
"""A figure in each resample."""


@dataclass(frozen=True)
class Resamples:
    """How often each cluster of runs is drawn in each resample: alike for all methods, which pairs them."""

    cluster: Mapping[str, int]
    """Each run's, by name."""
    weights: NDArray[np.float64]
    """(draws, clusters)."""
    by_setting: tuple[str, ...]
    """Placements whose settings were resampled for want of families; their intervals may be too narrow."""

    @classmethod
    def of(cls, labels: Labels, draws: int = DRAWS, seed: int = 0) -> "Resamples":
        """Return resamples of the families within each placement.

        Args:
            labels: Of all runs that are scored.
            draws: How many.
            seed: Of the generator.
        """
        families: dict[str, set[Hashable]] = defaultdict(set)
        for label in labels.values():
            families[label.arch].add(label.family)
        few = tuple(sorted(arch for arch, found in families.items() if len(found) < FEW_FAMILIES))
        index: dict[Hashable, int] = {}
        strata: dict[str, set[int]] = defaultdict(set)
        cluster = {}
        # Sorted, so that the resamples hang on the runs and not on the order they were read in.
        for label in sorted(labels.values(), key=lambda each: each.name):
            place = index.setdefault(_key(label, few), len(index))
            strata[label.arch].add(place)
            cluster[label.name] = place
        rng = np.random.default_rng(seed)
        weights = np.zeros((draws, len(index)))
        for arch in sorted(strata):
            places = sorted(strata[arch])
            weights[:, places] = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), draws)
        return cls(cluster, weights, few)


def percentiles(value: float, draws: Draws, n: int) -> Estimate:
    """Return a figure with its percentile interval of 95 %, of the resamples in which it is defined."""
    draws = draws[np.isfinite(draws)]
    known = float(value) if np.isfinite(value) else None
    if known is None or len(draws) == 0:
        return Estimate(known, None, None, n)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(known, float(low), float(high), n)


def share(count: float, n: int, draws: Draws) -> Estimate:
    """Return a share with its interval: Wilson's for few, and where it is 0 or 1, as all resamples are."""
    if n < FEW_EVENTS or count in (0, n):
        return wilson(float(count), n)
    return percentiles(count / n, draws, n)


def rate(count: int, steps: int, draws: Draws) -> Estimate:
    """Return events per 1,000 steps with their interval; of none in N steps the upper end is 3/N.

    Args:
        count: Events.
        steps: In how many steps.
        draws: The rate in each resample.
    """
    if steps == 0:
        return Estimate(None, None, None, 0)
    if count == 0:
        return Estimate(0.0, 0.0, 3000 / steps, steps)
    return percentiles(1000 * count / steps, draws, steps)


def one_sided(draws: Draws) -> float:
    """Return the share of resamples in which a gain is not above zero; never zero itself."""
    draws = draws[np.isfinite(draws)]
    return float((1 + np.sum(draws <= 0)) / (1 + len(draws)))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Return p values that hold for all of them together (Holm 1979, Scand. J. Stat. 6, 65).

    Args:
        p: Of each signal; all that were looked at belong here, not only the good ones.
    """
    found, highest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda each: (p[each], each))):
        highest = max(highest, min(1.0, (len(p) - rank) * p[name]))
        found[name] = highest
    return found


def _key(label: Label, few: tuple[str, ...]) -> Hashable:
    return (label.arch, label.setting) if label.arch in few else (label.arch, label.family)
