"""Findings merged over spans of steps: which incidents are open, and the evidence of each."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stabilitykit.detect.knowledge import explained
from stabilitykit.detect.running import RunningDetectors
from stabilitykit.detect.state import StateParts
from stabilitykit.records import Finding, Incident, IncidentChange, Severity

_EVIDENCE = 12
"""Findings an incident lists, at most."""
_OF_A_KIND = 3
"""Sites of one kind that it lists, at most: a blow-up is seen at every site and would hide all else."""
_MEMORY = 50
"""Records for which a finding that has gone quiet may still be evidence of what comes."""


@dataclasses.dataclass(slots=True)
class Span:
    """An open incident and the detector state it was made from."""

    incident: Incident
    last_seen: int
    """Number of the record in which it was last flagged."""
    last_step: int
    told: Incident
    """The incident as it was last told of."""


class IncidentBook:
    """Opens, extends and closes the incidents of a run.

    Args:
        detectors: Whose findings they are.
    """

    def __init__(self, detectors: RunningDetectors) -> None:
        self._detectors = detectors
        self._by_kind = detectors.by_kind
        self._open: dict[str, Span] = {}
        self._closed: list[Incident] = []
        self._closed_now: list[Incident] = []
        self._announced = 0
        self._episodes: dict[tuple[str, str], tuple[Finding, int]] = {}
        self.seen = 0
        """Records so far."""

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents so far, in the order in which they were announced."""
        incidents = [*self._closed, *(span.incident for span in self._open.values())]
        return tuple(sorted(incidents, key=lambda incident: incident.id))

    def open_one(self, kind: str) -> Incident | None:
        """Return the open incident of a kind, if there is one."""
        return self._open[kind].incident if kind in self._open else None

    def take(self, step: int, findings: Sequence[Finding]) -> list[IncidentChange]:
        """Take what was found at the next record, and return what happened to incidents at it."""
        self.seen += 1
        fresh = self._remember(findings) if findings or self._episodes else []
        changes = self._close(step)
        if not findings:
            return changes
        for kind in dict.fromkeys(f.kind for f in findings if f.severity is not Severity.INFO):
            alarms = [f for f in findings if f.kind == kind and f.severity is not Severity.INFO]
            change = self._extend(kind, alarms, fresh) if kind in self._open else self._start(kind, alarms)
            if change is not None:
                changes.append(change)
        return changes

    def untold(self, step: int) -> list[IncidentChange]:
        """Return updates of open incidents whose peak has moved since they were last told of."""
        changes = []
        for span in self._open.values():
            if span.incident != span.told:
                span.told = span.incident
                changes.append(IncidentChange("updated", step, span.incident))
        return changes

    def _remember(self, findings: Sequence[Finding]) -> list[Finding]:
        """Keep the first finding of each kind and site's episode; return those that are new."""
        if self._episodes:
            self._episodes = {
                key: episode for key, episode in self._episodes.items() if self.seen - episode[1] <= _MEMORY
            }
        fresh = []
        for finding in findings:
            first, _ = self._episodes.get((finding.kind, finding.site), (None, 0))
            if first is None:
                fresh.append(finding)
            self._episodes[finding.kind, finding.site] = (first or finding, self.seen)
        return fresh

    def _start(self, kind: str, alarms: Sequence[Finding]) -> IncidentChange:
        first = min(alarms, key=lambda f: f.since)
        worst = max(alarms, key=self._margin)
        evidence = sorted((f for f, _ in self._episodes.values() if not _is_told(f, first)), key=_time)
        incident = Incident(
            id=self._announced,
            kind=kind,
            start=first.since,
            detected=first.step,
            peak=worst.step,
            end=None,
            site=first.site,
            severity=max((f.severity for f in alarms), key=lambda s: s.rank),
            value=worst.value,
            threshold=worst.threshold,
            message=first.message,
            evidence=_cut(evidence, first),
        )
        incident = self._explained(incident)
        self._announced += 1
        self._open[kind] = Span(incident, self.seen, first.step, told=incident)
        return IncidentChange("opened", first.step, incident)

    def _extend(
        self, kind: str, alarms: Sequence[Finding], fresh: Sequence[Finding]
    ) -> IncidentChange | None:
        span = self._open[kind]
        old, worst = span.incident, max(alarms, key=self._margin)
        span.last_seen, span.last_step = self.seen, worst.step
        severity = max((old.severity, *(f.severity for f in alarms)), key=lambda s: s.rank)
        new = dataclasses.replace(old, severity=severity)
        if self._margin(worst) > self._margin(old):
            new = dataclasses.replace(new, peak=worst.step, value=worst.value, threshold=worst.threshold)
        if fresh:
            new = self._explained(dataclasses.replace(new, evidence=_joined(old.evidence, fresh)))
        span.incident = new
        # The peak moves at many steps and is told when the incident or the run ends; these two are news.
        if new.severity is old.severity and new.evidence == old.evidence:
            return None
        span.told = new
        return IncidentChange("updated", worst.step, new)

    def _explained(self, incident: Incident) -> Incident:
        """Return the incident with the causes and remedies that its evidence carries."""
        causes, remedies = explained(incident, self._detectors.sees_inside)
        return dataclasses.replace(incident, causes=causes, remedies=remedies)

    def _close(self, step: int) -> list[IncidentChange]:
        self._closed_now = []
        if not self._open:
            return []
        silence = {kind: self.seen - span.last_seen for kind, span in self._open.items()}
        over = [kind for kind, records in silence.items() if records > self._by_kind[kind].quiet]
        spans = [self._open.pop(kind) for kind in over]
        self._closed_now = [dataclasses.replace(span.incident, end=span.last_step) for span in spans]
        self._closed += self._closed_now
        return [IncidentChange("closed", step, incident) for incident in self._closed_now]

    def _margin(self, of: Finding | Incident) -> float:
        """Return how far beyond its threshold a value stands, as a ratio of logs; Inf when not a number."""
        if not math.isfinite(of.value):
            return math.inf
        direction = self._by_kind[of.kind].direction
        if of.value <= 0 or of.threshold <= 0:
            return direction * (of.value - of.threshold)
        return direction * math.log(of.value / of.threshold)

    def snapshot(self) -> dict[str, Any]:
        """Return what the records to come need, as plain JSON types; not what closed at earlier records."""
        return {
            "open": {
                kind: [span.incident.to_json(), span.told.to_json(), span.last_seen, span.last_step]
                for kind, span in self._open.items()
            },
            "closed": [incident.to_json() for incident in self._closed_now],
            "announced": self._announced,
            "episodes": [[finding.to_json(), seen] for finding, seen in self._episodes.values()],
            "seen": self.seen,
        }

    def closed(self) -> list[dict[str, Any]]:
        """Return all incidents that have closed, as plain JSON types."""
        return [incident.to_json() for incident in self._closed]

    def load(self, parts: StateParts) -> None:
        """Take up what ``snapshot`` returned, with what had closed before."""
        none: dict[str, Span] = {}
        spans = parts.read("open", _spans, none)
        self._open = {kind: span for kind, span in spans.items() if kind in self._by_kind}
        # Nobody would ever close the incident of a detector that is not here.
        left = [dataclasses.replace(span.incident, end=span.last_step) for span in spans.values()]
        self._closed = parts.read("closed", _incidents, [])
        self._closed += [incident for incident in left if incident.kind not in self._by_kind]
        self._closed_now = []
        known = (incident.id + 1 for incident in self.incidents)
        self._announced = parts.read("announced", int, max(known, default=0))
        self._episodes = parts.read("episodes", _episodes, {})
        self.seen = parts.read("seen", int, self.seen)


def _spans(given: Mapping[str, Any]) -> dict[str, Span]:
    spans = {}
    for kind, (now, told, seen, step) in given.items():
        incident = Incident.from_json(now)
        # The same object where nothing is untold: NaN is not equal to another NaN.
        spans[kind] = Span(incident, seen, step, incident if now == told else Incident.from_json(told))
    return spans


def _incidents(given: Iterable[Mapping[str, Any]]) -> list[Incident]:
    return [Incident.from_json(incident) for incident in given]


def _episodes(given: Iterable[Any]) -> dict[tuple[str, str], tuple[Finding, int]]:
    episodes = [(Finding.from_json(finding), seen) for finding, seen in given]
    return {(finding.kind, finding.site): (finding, seen) for finding, seen in episodes}


def _is_told(finding: Finding, first: Finding) -> bool:
    """Return whether a finding is of an incident that ended before this one began at the same site."""
    same = (finding.kind, finding.site) == (first.kind, first.site)
    return same and finding.severity is not Severity.INFO and finding.step < first.since


def _time(finding: Finding) -> tuple[int, int]:
    return finding.since, finding.step


def _cut(evidence: Sequence[Finding], first: Finding) -> tuple[Finding, ...]:
    """Return the first findings of each kind in time order, the opening one among them."""
    kept = _first_of_kinds(evidence)[:_EVIDENCE]
    if first not in kept:
        kept = sorted([*kept[: _EVIDENCE - 1], first], key=_time)
    return tuple(kept)


def _joined(evidence: Sequence[Finding], fresh: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the evidence with what is new of its kind and site, in time order, as far as there is room."""
    known = {(finding.kind, finding.site) for finding in evidence}
    more = [finding for finding in fresh if (finding.kind, finding.site) not in known]
    kept = [*evidence, *(f for f in _first_of_kinds([*evidence, *more]) if f in more)]
    return tuple(sorted(kept[:_EVIDENCE], key=_time))


def _first_of_kinds(findings: Iterable[Finding]) -> list[Finding]:
    """Return as many findings of each kind as an incident lists, the first ones."""
    counts: Counter[str] = Counter()
    kept = []
    for finding in findings:
        counts[finding.kind] += 1
        if counts[finding.kind] <= _OF_A_KIND:
            kept.append(finding)
    return kept
