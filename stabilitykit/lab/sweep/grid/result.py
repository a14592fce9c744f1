"""How a cell ended: what comparisons need of a run, without its readings."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stabilitykit.errors import RunFolderError
from stabilitykit.records import Incident, Outcome, Severity
from stabilitykit.store.contents import RESULT
from stabilitykit.store.disk import read_file, reason, replace_file
from stabilitykit.store.documents import parse_json

SCHEMA_VERSION = 1

CellOutcome = Outcome | Literal["crashed"]
"""A verdict, or ``crashed`` where an error ended the run before it had one."""


@dataclass(frozen=True, slots=True)
class IncidentBrief:
    """An incident without its story; the run's folder has that."""

    kind: str
    site: str
    start: int
    detected: int
    severity: Severity

    @classmethod
    def of(cls, incident: Incident) -> "IncidentBrief":
        """Return an incident in brief."""
        return cls(incident.kind, incident.site, incident.start, incident.detected, incident.severity)


@dataclass(frozen=True, slots=True)
class CellResult:
    """How a cell ended."""

    outcome: CellOutcome
    reason: str
    """One line: the numbers behind the verdict, or the error."""
    first_loss: float | None = None
    """Loss of the first step, before any update, in nats; None where it is not a number."""
    final_loss: float | None = None
    """Mean of the last 5 % of the steps."""
    best_loss: float | None = None
    """Lowest mean over as many steps in a row."""
    steps: int = 0
    """Steps trained."""
    seconds: float = 0.0
    """What the run took, on the machine and beside the company it had; no part of what is compared."""
    stopped_early: bool = False
    """Whether it was stopped since its verdict was certain."""
    incidents: tuple[IncidentBrief, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the document that is kept as ``result.json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            **asdict(self),
            "incidents": [asdict(i) for i in self.incidents],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "CellResult":
        """Return the result that ``to_json`` wrote."""
        fields = {name: document[name] for name in cls.__slots__ if name in document}
        briefs = [
            IncidentBrief(**{**each, "severity": Severity(each["severity"])}) for each in fields["incidents"]
        ]
        return cls(**{**fields, "incidents": tuple(briefs)})


def read_result(folder: Path) -> CellResult | None:
    """Return how the cell of a folder ended, or None while it has not, or where that cannot be read."""
    try:
        return CellResult.from_json(parse_json(read_file(folder / RESULT)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_result(folder: Path, result: CellResult) -> None:
    """Write how a cell ended, last of all in its folder: with it the cell is done.

    Raises:
        RunFolderError: The disk did not take it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / RESULT, json.dumps(result.to_json(), indent=1) + "\n")
    except OSError as error:
        raise RunFolderError(f"{folder}: {RESULT} was not written: {reason(error)}") from None
