"""The vocabulary: step record, finding, incident, verdict. Plain data, immutable, no torch."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

KINDS = (
    "loss_spike",
    "divergence",
    "stuck",
    "nonfinite",
    "activation_blow_up",
    "attention_logit_growth",
    "entropy_collapse",
    "gradient_spike",
    "vanishing_gradient",
    "update_spike",
    "output_logit_drift",
    "norm_gain_drift",
    "rank_collapse",
)
"""Every kind of finding and incident."""


class Severity(StrEnum):
    """How much a finding weighs. ``info`` is evidence only: it opens no incident."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Order among severities, ``info`` lowest."""
        return list(Severity).index(self)


_UNRENAMED: Mapping[str, str] = MappingProxyType({})
"""One for all records: logs have millions."""


@dataclass(frozen=True, eq=False)
class StepRecord:
    """All readings of one optimizer step.

    A tag that was not read at this step is absent; a reading that is not a number is NaN. The two are
    never confused. Consecutive records share one ``tags`` tuple as long as the same tags are read, so
    that a consumer can keep column indices per tuple.
    """

    step: int
    """Optimizer steps finished before this one: the first step is 0."""
    tags: tuple[str, ...]
    """What was read, in forward order."""
    values: NDArray[np.float32]
    """One value a tag, rounded to float32 so that live and replayed records are the same."""
    renamed: Mapping[str, str] = dataclasses.field(default_factory=lambda: _UNRENAMED)
    """Conventional names of the sites to which the user has given other ones: what a site is in its block."""

    @classmethod
    def of(cls, step: int, readings: Mapping[str, float]) -> "StepRecord":
        """Return the record of a plain mapping from tag to value."""
        return cls(step, tuple(readings), np.array(list(readings.values()), dtype=np.float32))

    def __post_init__(self) -> None:
        self.values.setflags(write=False)

    @cached_property
    def readings(self) -> Mapping[str, float]:
        """The readings as a read-only mapping from tag to value."""
        return MappingProxyType(dict(zip(self.tags, self.values.tolist(), strict=True)))

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the read-only mapping, which does not pickle.
        return StepRecord, (self.step, self.tags, self.values, dict(self.renamed))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StepRecord):
            return NotImplemented
        return (
            self.step == other.step
            and self.tags == other.tags
            and np.array_equal(self.values, other.values, equal_nan=True)
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """One detector's statement about one site at one step."""

    kind: str
    site: str
    step: int
    since: int
    """The first step of the present stretch outside the band; equals ``step`` for a jump."""
    value: float
    threshold: float
    severity: Severity
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document; a non-finite number is null with ``nonfinite`` beside it."""
        return _numbers_to_json(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Finding":
        """Return the finding that ``to_json`` wrote."""
        fields = _numbers_from_json(document)
        return cls(**{**fields, "severity": Severity(fields["severity"])})


@dataclass(frozen=True, slots=True)
class Incident:
    """Warning and critical findings of one kind, merged over a span of steps."""

    id: int
    kind: str
    start: int
    """First step outside the band."""
    detected: int
    """Step at which the incident was first announced; every delay and lead counts from it."""
    peak: int
    """Step of the most extreme value."""
    end: int | None
    """Last step outside the band, or None while open."""
    site: str
    """The first site to leave its band."""
    severity: Severity
    value: float
    """The most extreme value, at ``peak``."""
    threshold: float
    message: str
    causes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    evidence: tuple[Finding, ...] = ()
    """The first finding of each kind and site around the incident, in time order."""

    @property
    def is_open(self) -> bool:
        """Whether the incident had not ended when last looked at."""
        return self.end is None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document; a non-finite number is null with ``nonfinite`` beside it."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["causes"], fields["remedies"] = list(self.causes), list(self.remedies)
        fields["evidence"] = [finding.to_json() for finding in self.evidence]
        return _numbers_to_json(fields)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Incident":
        """Return the incident that ``to_json`` wrote."""
        fields = _numbers_from_json(document)
        fields["severity"] = Severity(fields["severity"])
        fields["causes"], fields["remedies"] = tuple(fields["causes"]), tuple(fields["remedies"])
        fields["evidence"] = tuple(Finding.from_json(finding) for finding in fields["evidence"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """What happened to an incident at a step."""

    what: Literal["opened", "updated", "closed"]
    step: int
    incident: Incident


Outcome = Literal["stable", "recovered", "unknown", "stuck", "diverged"]
"""A run's verdict in one word, from the loss alone; ``unknown`` where there is nothing to judge it by."""

OUTCOMES: tuple[Outcome, ...] = ("stable", "recovered", "unknown", "stuck", "diverged")
"""Every outcome, best first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run ended, from the loss alone, with its incidents beside it."""

    outcome: Outcome
    reason: str
    """One sentence: the numbers behind the outcome."""
    complete: bool
    """False when the run was interrupted."""
    steps: int
    """Step records seen."""
    incidents: tuple[Incident, ...] = ()

    def __str__(self) -> str:
        return self.outcome

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document with at least ``verdict``, ``complete``, ``steps`` and ``incidents``."""
        return {
            "verdict": self.outcome,
            "reason": self.reason,
            "complete": self.complete,
            "steps": self.steps,
            "incidents": [incident.to_json() for incident in self.incidents],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Verdict":
        """Return the verdict that ``to_json`` wrote; keys it does not know are left alone."""
        return cls(
            outcome=document["verdict"],
            reason=document["reason"],
            complete=document["complete"],
            steps=document["steps"],
            incidents=tuple(Incident.from_json(incident) for incident in document["incidents"]),
        )


def number_to_json(value: float) -> float | None:
    """Return ``value``, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None


def finite_json(value: Any) -> Any:
    """Return a document in which every number that JSON has none for is None.

    Args:
        value: Mappings, lists, tuples and what JSON takes.
    """
    if isinstance(value, float):
        return number_to_json(value)
    if isinstance(value, Mapping):
        return {str(key): finite_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(entry) for entry in value]
    return value


LOSS_KINDS = ("loss_spike", "divergence", "stuck")
"""Kinds of incidents that are of the loss itself."""


def is_of_loss(kind: str, site: str) -> bool:
    """Return whether an incident was seen in the loss itself, and not inside the model."""
    return kind in LOSS_KINDS or site.startswith("train/")


_NUMBERS = ("value", "threshold")


def _numbers_to_json(fields: dict[str, Any]) -> dict[str, Any]:
    fields = dict(fields)
    # A word and not the enumeration: what is kept in a checkpoint must be plain to be read back.
    fields["severity"] = fields["severity"].value
    for name in _NUMBERS:
        number = float(fields[name])
        fields[name] = number_to_json(number)
        if not math.isfinite(number):
            # One document has one observed value; a threshold is non-finite only where any value would be.
            fields["nonfinite" if name == "value" else "nonfinite_threshold"] = str(number)
    return fields


def _numbers_from_json(document: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(document)
    value, threshold = fields.pop("nonfinite", None), fields.pop("nonfinite_threshold", None)
    if value is not None:
        fields["value"] = float(value)
    if threshold is not None:
        fields["threshold"] = float(threshold)
    return fields
