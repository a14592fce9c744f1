"""Incidents sorted into lanes, one a kind, so that two hundred of them can still be told apart."""

from collections.abc import Iterable
from dataclasses import dataclass

from stabilitykit.records import Incident, Severity, is_of_loss


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of steps that somebody has marked."""

    start: int
    end: int | None
    """Last step, or None where it is open: up to the edge."""
    detected: int | None = None
    """Step at which it was announced."""
    severity: Severity | None = None
    """How much it weighs; None is no alarm, but a fact."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Marks that stand on one line."""

    name: str
    marks: tuple[Mark, ...]

    @property
    def label(self) -> str:
        """The name, with the number of marks where there are several."""
        return self.name if len(self.marks) < 2 else f"{self.name} ×{len(self.marks)}"


def mark(incident: Incident) -> Mark:
    """Return where an incident stands."""
    return Mark(incident.start, incident.end, incident.detected, incident.severity)


def is_of_gradient_norm(incident: Incident) -> bool:
    """Return whether the incident was seen in the gradient norm of all parameters."""
    return incident.site == "optim/grad_norm"


def incident_lanes(incidents: Iterable[Incident]) -> list[Lane]:
    """Return one lane a kind: those of the loss first, then in the order in which they began."""
    kinds: dict[str, list[Incident]] = {}
    for incident in sorted(incidents, key=lambda each: (not is_of_loss(each.kind, each.site), each.start)):
        kinds.setdefault(incident.kind, []).append(incident)
    return [Lane(kind, tuple(mark(each) for each in found)) for kind, found in kinds.items()]
