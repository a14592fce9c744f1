"""What a check says."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stabilitykit.records import Severity

Expected = Literal["stable", "unstable", "unknown"]
"""What is expected of a run: that it holds, that it fails, or that nobody measured it."""


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """What one rule of the check says."""

    name: str
    """The rule's name."""
    severity: Severity
    """``info`` where the value is within its limit, or there is none."""
    value: float | None
    """What was looked at; None where it could not be read."""
    limit: float | None
    """What the value is held against; None where nothing was measured."""
    message: str
    """One sentence."""
    remedies: tuple[str, ...] = ()
    """What to try."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document."""
        return {**dataclasses.asdict(self), "severity": str(self.severity), "remedies": list(self.remedies)}


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What is expected of a run that has not begun."""

    expected: Expected
    findings: tuple[CheckFinding, ...]
    """That of the learning rate, then one a rule that applies, in the order of the rules."""
    config: Mapping[str, Any] = field(repr=False)

    @property
    def decisive(self) -> CheckFinding:
        """The finding that what is expected rests on: a critical one, else that of the learning rate."""
        critical = (finding for finding in self.findings if finding.severity is Severity.CRITICAL)
        return next(critical, self.findings[0])

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``probe --check --json`` prints."""
        return {
            "expected": self.expected,
            "findings": [finding.to_json() for finding in self.findings],
            "config": dict(self.config),
        }
