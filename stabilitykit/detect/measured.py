"""What each kind was worth on labelled runs: how early it warns, how often falsely (docs/benchmark.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

FILE = "measured.yaml"
"""Beside this module; ``benchmarks/alarms/early_warning.py`` writes it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A kind's row of the benchmark."""

    events: int
    """Failures of its runs."""
    healthy_runs: int
    """Runs that did not fail, nor end far above the best."""
    recall: Mapping[int, float]
    """Share of the failures of which it warned, by the least number of steps before the loss."""
    chance: float
    """What alarms as frequent, but at random, reach at a lead of 5."""
    lead: float | None
    """Median steps from its announcement to the failure, over all failures; None where it misses more."""
    false_per_thousand: tuple[float, float, float]
    """False alarms per 1,000 healthy steps, and the ends of the interval of 95 %."""
    flagged: float
    """Share of the healthy runs with a false alarm."""

    @property
    def sentence(self) -> str:
        """The row in words."""
        least, low, high = self.false_per_thousand
        warned = ", ".join(f"{share:.0%} by {lead} or more" for lead, share in self.recall.items())
        half = (
            "none in half of them or more" if self.lead is None else f"half of them by {self.lead:g} or more"
        )
        return (
            f"Of {self.events} failures of short runs it was announced before the loss left its band in "
            f"{warned} steps ({half}); announced as often but at random it would reach {self.chance:.0%} at "
            f"a lead of 5. In {self.healthy_runs} healthy runs it gave {least:.2g} false alarms per 1,000 "
            f"steps (95 %: {low:.2g} to {high:.2g}), in {self.flagged:.0%} of them one or more."
        )


def measured() -> dict[str, Measured]:
    """Return the rows by kind."""
    document = yaml.safe_load(files("stabilitykit.detect").joinpath(FILE).read_text(encoding="utf-8"))
    return {kind: _row(row) for kind, row in document["kinds"].items()}


def _row(row: Mapping[str, Any]) -> Measured:
    return Measured(**{**row, "false_per_thousand": tuple(row["false_per_thousand"])})
