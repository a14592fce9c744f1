"""The check before training: whether a probe is expected to hold, and what stands out at its first step."""

from typing import TYPE_CHECKING

from stabilitykit.lab.probe.checks.edges import (
    EdgeRow,
    EdgeTable,
    RunOutcome,
    edges,
    read_edges,
    write_edges,
)
from stabilitykit.lab.probe.checks.rate import verdict_of
from stabilitykit.lab.probe.checks.report import CheckFinding, CheckReport, Expected
from stabilitykit.lab.probe.checks.rules import RULES, ReadingRule
from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.lab.probe.checks.run_check import check

__all__ = [
    "RULES",
    "CheckFinding",
    "CheckReport",
    "EdgeRow",
    "EdgeTable",
    "Expected",
    "ReadingRule",
    "RunOutcome",
    "check",
    "edges",
    "read_edges",
    "verdict_of",
    "write_edges",
]

__getattr__ = lazy(__name__, {"run_check": ("check",)})
