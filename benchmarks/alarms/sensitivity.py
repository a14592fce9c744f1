"""How much a figure hangs on the thresholds of the labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from benchmarks.alarms.curves import Trained
from benchmarks.alarms.labels import Labels, label_runs
from benchmarks.alarms.rules import VARIANTS, Rules

T = TypeVar("T")


def under_variants(
    runs: Sequence[Trained],
    figure: Callable[[Labels], T],
    variants: Mapping[str, Rules] = VARIANTS,
) -> dict[str, T]:
    """Return a figure under each choice of the labels' thresholds.

    Args:
        runs: What is labelled.
        figure: Of the labels: it should choose its own thresholds anew, since what is healthy changes.
        variants: The choices, by name.
    """
    return {name: figure(label_runs(runs, rules)) for name, rules in variants.items()}
