"""Comparing the runs of a sweep: summaries, differences, intervals. No torch."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.experiments.compare.document import comparison_json
    from stabilitykit.experiments.compare.intervals import (
        Bracket,
        Estimate,
        estimate,
        paired_difference,
        paired_ratio,
        wilson,
    )
    from stabilitykit.experiments.compare.pairs import Difference, differences
    from stabilitykit.experiments.compare.rates import best_rate, lr_sensitivities, stable_lr_maxima
    from stabilitykit.experiments.compare.results import Results
    from stabilitykit.experiments.compare.sites import first_incidents, first_sites
    from stabilitykit.experiments.compare.summary import Summary, summarise
    from stabilitykit.experiments.compare.warmups import WarmupNeeded, warmup_needed

__all__ = [
    "Bracket",
    "Difference",
    "Estimate",
    "Results",
    "Summary",
    "WarmupNeeded",
    "best_rate",
    "comparison_json",
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
    "document": ("comparison_json",),
    "rates": ("best_rate", "lr_sensitivities", "stable_lr_maxima"),
    "results": ("Results",),
    "sites": ("first_incidents", "first_sites"),
    "summary": ("Summary", "summarise"),
    "warmups": ("WarmupNeeded", "warmup_needed"),
}

__getattr__ = lazy(
    __name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}
)
