"""Where two runs part, as the page shows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stabilitykit.afterwards.replay import Replay
from stabilitykit.figures.page.contents import curve_numbers
from stabilitykit.lab.report.parting import APART, IN_A_ROW, FirstDifference, Parting
from stabilitykit.tags import REGISTRY, split

_PERCENT = round(100 * APART)
_SHOWN = 12
"""Readings of the first step at which anything differs that are listed."""


def parting_contents(parted: Parting, runs: Sequence[tuple[Path, Replay]], buckets: int) -> dict[str, Any]:
    """Return what the template takes.

    Args:
        parted: Where they part.
        runs: The two runs.
        buckets: Stretches of steps that are left of a longer curve.
    """
    first, apart = parted.first, parted.apart
    return {
        "names": [str(path) for path, _ in runs],
        "sentence": sentence(parted),
        "config": parted.config,
        "first": [_row(each) for each in first[:_SHOWN]],
        "more": max(0, len(first) - _SHOWN),
        "apart": [_row(each) for each in apart],
        "percent": _PERCENT,
        "in_a_row": IN_A_ROW,
        "chart": {
            "names": [str(path) for path, _ in runs],
            "at": first[0].step if first else None,
            "apart": apart[0].step if apart else None,
            "curves": [curve_numbers(replay.curves.loss, buckets) for _, replay in runs],
        },
    }


def sentence(parted: Parting) -> str:
    """Return in one sentence where two runs part."""
    if not parted.shared_steps:
        return "The two runs share no reading, so nothing can be compared."
    shared = f"{parted.shared_steps} steps and {parted.shared_tags} readings that both have"
    if not parted.first:
        return f"The two runs are the same to the last bit over the {shared}."
    first = parted.first[0]
    start = f"They part at step {first.step}, first at {first.tag}"
    if not parted.apart:
        return f"{start}, and never by more than {_PERCENT} % for {IN_A_ROW} steps in a row ({shared})."
    far = parted.apart[0]
    return f"{start}, and by more than {_PERCENT} % from step {far.step} on, first in {far.tag} ({shared})."


def _row(each: FirstDifference) -> dict[str, Any]:
    family, site = split(each.tag)
    meaning = REGISTRY[family].meaning if family in REGISTRY else ""
    return {
        "step": each.step,
        "family": family,
        "site": site or "whole model",
        "meaning": meaning,
        "a": each.a,
        "b": each.b,
    }
