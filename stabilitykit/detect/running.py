"""The detectors of a run: which look at a record, what they find, and what of them can be kept."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stabilitykit.detect.detector import Detector
from stabilitykit.detect.state import plain
from stabilitykit.errors import ConfigError
from stabilitykit.records import Finding, Severity, StepRecord

_SCHEMAS = 8
"""Tuples of tags for which the detectors that look at them are kept."""

_INSIDE = ("act/", "grad/", "optim/update_ratio/")
"""How the tags begin that tell of a model's inside."""


class RunningDetectors:
    """Shows records to detectors; an error in one ends it, and the others go on.

    Args:
        detectors: What to run, in this order.

    Raises:
        ConfigError: Two detectors are of one kind, or one is no detector.
    """

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = list(detectors)
        _check(self._detectors)
        self.by_kind = {detector.kind: detector for detector in self._detectors}
        self._tags: tuple[str, ...] | None = None
        self._running: list[Detector] = []
        self._choices: dict[tuple[str, ...], list[Detector]] = {}
        self.sees_inside = False
        """Whether anything but scalars of the step was ever read."""
        self.failed: dict[str, str] = {}
        """Why detectors are off, by kind."""
        self.unkept: dict[str, str] = {}
        """Why the state of detectors cannot be kept, by kind: where training is resumed, they begin anew."""

    @property
    def settings(self) -> dict[str, dict[str, float]]:
        """The limits of every detector, by kind."""
        return {detector.kind: dict(detector.settings) for detector in self._detectors}

    def _choose(self, tags: tuple[str, ...]) -> None:
        """Find the detectors that have something to look at; a log of losses leaves most without."""
        if tags not in self._choices:
            if len(self._choices) >= _SCHEMAS:
                self._choices.clear()
            self._choices[tags] = [
                detector
                for detector in self._detectors
                if detector.kind not in self.failed and self._concerns(detector, tags)
            ]
        self._tags, self._running = tags, self._choices[tags]
        self.sees_inside = self.sees_inside or any(tag.startswith(_INSIDE) for tag in tags)

    def _concerns(self, detector: Detector, tags: tuple[str, ...]) -> bool:
        try:
            return detector.concerns(tags)
        except Exception:  # It will say at its first record what is wrong with it.
            return True

    def look(self, record: StepRecord) -> list[Finding]:
        """Return what the detectors find at a record."""
        if record.tags is not self._tags:
            self._choose(record.tags)
        findings: list[Finding] = []
        for detector in self._running:
            try:
                findings += [self._checked(finding) for finding in detector.update(record)]
            except Exception as error:  # One detector's error must not silence the others.
                self.failed[detector.kind] = f"at step {record.step}: {type(error).__name__}: {error}"
                self.forget_choices()
        return findings

    def _checked(self, finding: Finding) -> Finding:
        """Return a finding of which an incident can be made; a detector of the user's own may say anything.

        Raises:
            TypeError: It is none.
        """
        if not isinstance(finding, Finding):
            raise TypeError(f"found {type(finding).__name__}; must be a Finding")
        if finding.kind not in self.by_kind:
            raise TypeError(f"found the kind {finding.kind!r}, which is no detector's")
        if not isinstance(finding.severity, Severity):
            raise TypeError(f"found the severity {finding.severity!r}; must be a Severity")
        return replace(
            finding,
            site=str(finding.site),
            step=operator.index(finding.step),
            since=operator.index(finding.since),
            value=float(finding.value),
            threshold=float(finding.threshold),
            message=str(finding.message),
        )

    def forget_choices(self) -> None:
        """Have the detectors chosen anew at the next record."""
        self._choices.clear()
        self._tags = None

    def states(self) -> dict[str, Any]:
        """Return the state of each detector by kind, without those that cannot be kept."""
        states: dict[str, Any] = {}
        for kind, detector in self.by_kind.items():
            try:
                states[kind] = plain(detector.state_dict())
            except Exception as error:  # The others' are kept all the same.
                self.unkept[kind] = f"{type(error).__name__}: {error}"
        return states

    def load_states(self, states: Mapping[str, Any] | Sequence[Any]) -> list[str]:
        """Let each detector take up its own; returns which did not, and why."""
        # Earlier versions kept a list, in the detectors' order.
        given = dict(states if isinstance(states, Mapping) else zip(self.by_kind, states, strict=True))
        unread = [f"detector {kind}: it is not here" for kind in given.keys() - self.by_kind.keys()]
        for kind, detector in self.by_kind.items():
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


def _check(detectors: Sequence[Detector]) -> None:
    kinds: list[str] = []
    for detector in detectors:
        if not isinstance(detector, Detector):
            raise ConfigError(f"detectors: got {detector!r}; must be a stabilitykit.detect.Detector")
        if detector.kind in kinds:
            raise ConfigError(f"detectors: the kind {detector.kind!r} is there twice")
        kinds.append(detector.kind)
