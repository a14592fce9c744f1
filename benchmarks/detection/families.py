"""All families of made-up runs, and tools scored on them."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.detection import distorted, divergences, healthy, spikes
from benchmarks.detection.cases import FAMILIES, generate
from benchmarks.detection.log import Tool
from benchmarks.detection.truth import Counts, count

MODULES = (spikes, divergences, distorted, healthy)
"""Where the families are; each registers its own, in this order."""


def score_families(
    tools: Sequence[Tool], names: Sequence[str], seeds: int, tick: Callable[[], None] = lambda: None
) -> dict[str, dict[str, Counts]]:
    """Return the counts of every tool in every family.

    Args:
        tools: What to score; those that need more than a loss are left out.
        names: Families.
        seeds: Runs of each.
        tick: Called after every run.
    """
    found = {tool.name: {name: Counts() for name in names} for tool in tools if tool.needs == "loss"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.csv"
        for name in names:
            for seed in range(seeds):
                case = generate(name, seed)
                case.log.write(path)
                for tool in tools:
                    if tool.name in found:
                        found[tool.name][name] += count(case, tool.judge(path, case.log))
                tick()
    return found


def pooled(by_family: dict[str, Counts]) -> Counts:
    """Return the sum over families."""
    total = Counts()
    for counts in by_family.values():
        total += counts
    return total


__all__ = ["FAMILIES", "MODULES", "generate", "pooled", "score_families"]
