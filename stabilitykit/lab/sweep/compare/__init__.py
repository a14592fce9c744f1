"""Comparing the runs of a sweep: summaries, differences, intervals. No torch."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.lab.sweep.compare.intervals import (
        Bracket,
        Estimate,
        estimate,
        paired_difference,
        paired_ratio,
        wilson,
    )
    from stabilitykit.lab.sweep.compare.pairs import Difference, differences
    from stabilitykit.lab.sweep.compare.rates import best_rate, lr_sensitivities, stable_lr_maxima
    from stabilitykit.lab.sweep.compare.results import Results
    from stabilitykit.lab.sweep.compare.sites import first_incidents, first_sites
    from stabilitykit.lab.sweep.compare.summary import Summary, summarise
    from stabilitykit.lab.sweep.compare.warmups import WarmupNeeded, warmup_needed

__all__ = [
    "Bracket",
    "Difference",
    "Estimate",
    "Results",
    "Summary",
    "WarmupNeeded",
    "best_rate",
    "differences",
    "estimate",
    "first_incidents",
    "first_sites",
    "lr_sensitivities",
    "paired_difference",
    "paired_ratio",
    "stable_lr_maxima",
    "summarise",
    "warmup_needed",
    "wilson",
]

_MODULES = {
    "intervals": ("Bracket", "Estimate", "estimate", "paired_difference", "paired_ratio", "wilson"),
    "pairs": ("Difference", "differences"),
    "rates": ("best_rate", "lr_sensitivities", "stable_lr_maxima"),
    "results": ("Results",),
    "sites": ("first_incidents", "first_sites"),
    "summary": ("Summary", "summarise"),
    "warmups": ("WarmupNeeded", "warmup_needed"),
}

__getattr__ = lazy(__name__, _MODULES)
