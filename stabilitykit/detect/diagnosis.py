"""Step records in, incidents and verdict out: detectors' findings merged over spans of steps."""

import dataclasses
import math
import operator
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

import numpy as np

from stabilitykit.detect import Detector, default_detectors
from stabilitykit.detect.knowledge import explained
from stabilitykit.detect.loss import LOSS
from stabilitykit.errors import ConfigError
from stabilitykit.records import (
    LOSS_KINDS,
    Finding,
    Incident,
    IncidentChange,
    Outcome,
    Severity,
    StepRecord,
    Verdict,
)

_EVIDENCE = 12
"""Findings an incident lists, at most."""
_OF_A_KIND = 3
"""Sites of one kind that it lists, at most: a blow-up is seen at every site and would hide all else."""
_MEMORY = 50
"""Records for which a finding that has gone quiet may still be evidence of what comes."""

_SCHEMAS = 8
"""Tuples of tags for which the detectors that look at them are kept."""

_INSIDE = ("act/", "grad/", "optim/update_ratio/")
"""How the tags begin that tell of a model's inside."""

T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class _Span:
    """An open incident and the detector state it was made from."""

    incident: Incident
    last_seen: int
    """Number of the record in which it was last flagged."""
    last_step: int
    told: Incident
    """The incident as it was last told of."""


class Diagnosis:
    """Runs detectors over step records and keeps the incidents.

    The same records give the same incidents, live, resumed or replayed.

    Args:
        detectors: What to run; all built-in ones unless given.

    Raises:
        ConfigError: Two detectors are of one kind, or one is no detector.
    """

    def __init__(self, detectors: Sequence[Detector] | None = None) -> None:
        self._detectors = list(default_detectors() if detectors is None else detectors)
        _check(self._detectors)
        self._by_kind = {detector.kind: detector for detector in self._detectors}
        self._tags: tuple[str, ...] | None = None
        self._running: list[Detector] = []
        self._choices: dict[tuple[str, ...], list[Detector]] = {}
        self._open: dict[str, _Span] = {}
        self._closed: list[Incident] = []
        self._closed_now: list[Incident] = []
        self._announced = 0
        self._episodes: dict[tuple[str, str], tuple[Finding, int]] = {}
        self._seen = 0
        self._inside = False
        """Whether anything but scalars of the step was ever read."""
        self._step = -1
        self._loss: float | None = None
        self.failed: dict[str, str] = {}
        """Why detectors are off, by kind: an error ends one, and the others go on."""
        self.unkept: dict[str, str] = {}
        """Why the state of detectors cannot be kept, by kind: where training is resumed, they begin anew."""

    @property
    def settings(self) -> dict[str, dict[str, float]]:
        """The limits of every detector, by kind; kept with the run."""
        return {detector.kind: dict(detector.settings) for detector in self._detectors}

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents so far, in the order in which they were announced."""
        return tuple(sorted([*self._closed, *(s.incident for s in self._open.values())], key=lambda i: i.id))

    def update(self, record: StepRecord) -> list[IncidentChange]:
        """Take the next record and return what happened to incidents at it."""
        self._seen += 1
        loss = record.readings.get(LOSS)
        if loss is not None:
            self._loss, self._step = loss, record.step
        if record.tags is not self._tags:
            self._choose(record.tags)
        findings = self._look(record)
        fresh = self._remember(findings) if findings or self._episodes else []
        changes = self._close(record.step)
        if not findings:
            return changes
        for kind in dict.fromkeys(f.kind for f in findings if f.severity is not Severity.INFO):
            alarms = [f for f in findings if f.kind == kind and f.severity is not Severity.INFO]
            change = self._extend(kind, alarms, fresh) if kind in self._open else self._start(kind, alarms)
            if change is not None:
                changes.append(change)
        return changes

    def _choose(self, tags: tuple[str, ...]) -> None:
        """Find the detectors that have something to look at; a log of losses leaves most without."""
        if tags not in self._choices:
            if len(self._choices) >= _SCHEMAS:
                self._choices.clear()
            self._choices[tags] = [
                each
                for each in self._detectors
                if each.kind not in self.failed and self._concerns(each, tags)
            ]
        self._tags, self._running = tags, self._choices[tags]
        self._inside = self._inside or any(tag.startswith(_INSIDE) for tag in tags)

    def _concerns(self, detector: Detector, tags: tuple[str, ...]) -> bool:
        try:
            return detector.concerns(tags)
        except Exception:  # It will say at its first record what is wrong with it.
            return True

    def _look(self, record: StepRecord) -> list[Finding]:
        """Return what the detectors find at a record."""
        findings: list[Finding] = []
        for detector in self._running:
            try:
                findings += [self._checked(finding) for finding in detector.update(record)]
            except Exception as error:  # One detector's error must not silence the others.
                self.failed[detector.kind] = f"at step {record.step}: {type(error).__name__}: {error}"
                self._forget_choices()
        return findings

    def _checked(self, finding: Finding) -> Finding:
        """Return a finding of which an incident can be made; a detector of the user's own may say anything.

        Raises:
            TypeError: It is none.
        """
        if not isinstance(finding, Finding):
            raise TypeError(f"found {type(finding).__name__}; must be a Finding")
        if finding.kind not in self._by_kind:
            raise TypeError(f"found the kind {finding.kind!r}, which is no detector's")
        if not isinstance(finding.severity, Severity):
            raise TypeError(f"found the severity {finding.severity!r}; must be a Severity")
        return dataclasses.replace(
            finding,
            site=str(finding.site),
            step=operator.index(finding.step),
            since=operator.index(finding.since),
            value=float(finding.value),
            threshold=float(finding.threshold),
            message=str(finding.message),
        )

    def _forget_choices(self) -> None:
        """Have the detectors chosen anew at the next record."""
        self._choices.clear()
        self._tags = None

    def untold(self) -> list[IncidentChange]:
        """Return updates of open incidents whose peak has moved since they were last told of."""
        changes = []
        for span in self._open.values():
            if span.incident != span.told:
                span.told = span.incident
                changes.append(IncidentChange("updated", self._step, span.incident))
        return changes

    def verdict(self, complete: bool = True) -> Verdict:
        """Return how the run stands, from the loss alone, with all incidents beside it."""
        outcome, reason = self._outcome()
        return Verdict(outcome, reason, complete, self._seen, self.incidents)

    def _outcome(self) -> tuple[Outcome, str]:
        if self._loss is None:
            return "unknown", self._what_is_missing()
        if not math.isfinite(self._loss):
            return "diverged", f"the last loss, at step {self._step}, is {self._loss}"
        if "divergence" in self._open:
            return "diverged", self._open["divergence"].incident.message
        if "stuck" in self._open:
            return "stuck", self._open["stuck"].incident.message
        past = [i for i in self.incidents if i.kind in LOSS_KINDS or (i.kind, i.site) == ("nonfinite", LOSS)]
        if past:
            words = ", ".join(f"{i.kind} at step {i.start}" for i in past[:3])
            more = f" and {len(past) - 3} more" if len(past) > 3 else ""
            return "recovered", f"the loss came back after {words}{more}"
        return "stable", f"the loss shows no incident over {self._seen} steps"

    def _what_is_missing(self) -> str:
        """Return why there is nothing at all to judge a run by, and what its inside says instead."""
        if not self._seen:
            return "no step was recorded"
        missing = f"no loss was recorded in {self._seen} steps"
        broken = self._open.get("nonfinite")
        return f"{missing}; {broken.incident.message}" if broken else missing

    def _remember(self, findings: Sequence[Finding]) -> list[Finding]:
        """Keep the first finding of each kind and site's episode; return those that are new."""
        if self._episodes:
            self._episodes = {
                key: episode for key, episode in self._episodes.items() if self._seen - episode[1] <= _MEMORY
            }
        fresh = []
        for finding in findings:
            first, _ = self._episodes.get((finding.kind, finding.site), (None, 0))
            if first is None:
                fresh.append(finding)
            self._episodes[finding.kind, finding.site] = (first or finding, self._seen)
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
        self._open[kind] = _Span(incident, self._seen, first.step, told=incident)
        return IncidentChange("opened", first.step, incident)

    def _extend(
        self, kind: str, alarms: Sequence[Finding], fresh: Sequence[Finding]
    ) -> IncidentChange | None:
        span = self._open[kind]
        old, worst = span.incident, max(alarms, key=self._margin)
        span.last_seen, span.last_step = self._seen, worst.step
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
        causes, remedies = explained(incident, self._inside)
        return dataclasses.replace(incident, causes=causes, remedies=remedies)

    def _close(self, step: int) -> list[IncidentChange]:
        self._closed_now = []
        if not self._open:
            return []
        silence = {kind: self._seen - span.last_seen for kind, span in self._open.items()}
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
        """Return what a replay of the records to come needs, as plain JSON types.

        Unlike ``state_dict`` it does not grow with the run: incidents that closed at earlier records, whose
        record is kept elsewhere, are not in it.
        """
        return {
            "detectors": self._detector_states(),
            "open": {
                kind: [span.incident.to_json(), span.told.to_json(), span.last_seen, span.last_step]
                for kind, span in self._open.items()
            },
            "closed": [incident.to_json() for incident in self._closed_now],
            "announced": self._announced,
            "episodes": [[finding.to_json(), seen] for finding, seen in self._episodes.values()],
            "seen": self._seen,
            "inside": self._inside,
            "step": self._step,
            "loss": self._loss,
            "failed": dict(self.failed),
        }

    def _detector_states(self) -> dict[str, Any]:
        """Return the state of each detector by kind, without those that cannot be kept."""
        states: dict[str, Any] = {}
        for kind, detector in self._by_kind.items():
            try:
                states[kind] = plain(detector.state_dict())
            except Exception as error:  # The others' are kept all the same.
                self.unkept[kind] = f"{type(error).__name__}: {error}"
        return states

    def load_snapshot(self, state: Mapping[str, Any], record: Iterable[Incident]) -> list[str]:
        """Take up what ``snapshot`` returned, with the same detectors.

        Args:
            state: The snapshot.
            record: All incidents of the run, in their newest state; later ones are passed over.

        Returns:
            What could not be taken up, and why.
        """
        known = {incident["id"] for incident in state["closed"]}
        known |= {now["id"] for now, *_ in state["open"].values()}
        earlier = [i for i in record if i.id < state["announced"] and i.id not in known]
        closed = [*(incident.to_json() for incident in earlier), *state["closed"]]
        return self.load_state_dict({**state, "closed": closed})

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {**self.snapshot(), "closed": [incident.to_json() for incident in self._closed]}

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Take up the state that ``state_dict`` returned, as far as it can be read.

        It may be another version's, or of other detectors, or damaged: what is good of it is taken up, and
        what is not begins anew.

        Returns:
            What could not be taken up, and why.
        """
        unread: list[str] = []

        def part(name: str, read: Callable[[Any], T], otherwise: T) -> T:
            try:
                return read(state[name])
            except Exception as error:  # A damaged state may hold anything.
                unread.append(f"{name}: {type(error).__name__}: {error}")
                return otherwise

        self.failed = part("failed", _texts, {}) if "failed" in state else {}
        self._forget_choices()
        unread += part("detectors", self._load_detectors, [])
        none: dict[str, _Span] = {}
        spans = part("open", _spans, none)
        self._open = {kind: span for kind, span in spans.items() if kind in self._by_kind}
        # Nobody would ever close the incident of a detector that is not here.
        left = [dataclasses.replace(s.incident, end=s.last_step) for s in spans.values()]
        self._closed = part("closed", _incidents, [])
        self._closed += [incident for incident in left if incident.kind not in self._by_kind]
        self._closed_now = []
        self._announced = part("announced", int, max((i.id + 1 for i in self.incidents), default=0))
        self._episodes = part("episodes", _episodes, {})
        self._seen = part("seen", int, self._seen)
        self._step = part("step", int, self._step)
        self._loss = part("loss", _number, self._loss)
        self._inside = part("inside", bool, self._inside)
        return unread

    def _load_detectors(self, states: Mapping[str, Any] | Sequence[Any]) -> list[str]:
        """Let each detector take up its own; returns which did not, and why."""
        # Earlier versions kept a list, in the detectors' order.
        given = dict(states if isinstance(states, Mapping) else zip(self._by_kind, states, strict=True))
        unread = [f"detector {kind}: it is not here" for kind in given.keys() - self._by_kind.keys()]
        for kind, detector in self._by_kind.items():
            if kind not in given:
                unread.append(f"detector {kind}: it was not there")
                continue
            before: dict[str, Any] | None = None
            try:
                before = detector.state_dict()
                detector.load_state_dict(given[kind])
            except Exception as error:
                unread.append(f"detector {kind}: {type(error).__name__}: {error}")
                self._begin_anew(detector, before)
        return sorted(unread)

    def _begin_anew(self, detector: Detector, before: dict[str, Any] | None) -> None:
        """Undo what a detector has taken up in part; one that cannot is off."""
        try:
            if before is not None:
                detector.load_state_dict(before)
        except Exception as error:
            self.failed[detector.kind] = f"its state cannot be taken up: {type(error).__name__}: {error}"


def plain(value: Any) -> Any:
    """Return a state as numbers, texts, lists and mappings alone: what every reader of checkpoints takes.

    Args:
        value: Such a value, or one of NumPy or of an enumeration.

    Raises:
        TypeError: It holds something else.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | deque):
        return [plain(each) for each in value]
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"a state holds {type(value).__name__}; accepted: numbers, texts, lists and mappings")


def _texts(given: Mapping[str, str]) -> dict[str, str]:
    return {str(kind): str(why) for kind, why in given.items()}


def _number(given: Any) -> float | None:
    return None if given is None else float(given)


def _spans(given: Mapping[str, Any]) -> dict[str, _Span]:
    spans = {}
    for kind, (now, told, seen, step) in given.items():
        incident = Incident.from_json(now)
        # The same object where nothing is untold: NaN is not equal to another NaN.
        spans[kind] = _Span(incident, seen, step, incident if now == told else Incident.from_json(told))
    return spans


def _incidents(given: Iterable[Mapping[str, Any]]) -> list[Incident]:
    return [Incident.from_json(incident) for incident in given]


def _episodes(given: Iterable[Any]) -> dict[tuple[str, str], tuple[Finding, int]]:
    episodes = [(Finding.from_json(finding), seen) for finding, seen in given]
    return {(finding.kind, finding.site): (finding, seen) for finding, seen in episodes}


def _check(detectors: Sequence[Detector]) -> None:
    kinds: list[str] = []
    for detector in detectors:
        if not isinstance(detector, Detector):
            raise ConfigError(f"detectors: got {detector!r}; must be a stabilitykit.detect.Detector")
        if detector.kind in kinds:
            raise ConfigError(f"detectors: the kind {detector.kind!r} is there twice")
        kinds.append(detector.kind)


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
