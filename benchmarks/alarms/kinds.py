"""What detectors announce on a run's records: the product's, or anybody's."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.alarms.announcing import Alarms
from benchmarks.alarms.runs import Run
from stabilitykit.detect import Detector, default_detectors
from stabilitykit.records import Finding, Severity, StepRecord

Rule = Callable[[Iterator[StepRecord]], Iterable[Finding]]
"""A detector as a function: takes all records of a run in order and yields findings, looking back only."""


@dataclass(frozen=True)
class Told:
    """The findings on a run."""

    findings: tuple[Finding, ...]
    """By step."""
    looks: tuple[int, ...]
    """For each finding, how often its detector had looked at a record before."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that were found, by name."""
        return tuple(sorted({finding.kind for finding in self.findings}))

    def alarms(self, kind: str, at_least: Severity = Severity.INFO) -> Alarms:
        """Return the steps at which findings of a kind newly began at some site, ascending.

        A finding is new where its site had none when the detector last looked: a statistic that is read at
        every tenth step is out for good when it is out at every reading.

        Args:
            kind: Such as ``vanishing_gradient``.
            at_least: Lesser findings are passed over, as if they had not been.
        """
        last: dict[str, int] = {}
        steps = set()
        for finding, look in zip(self.findings, self.looks, strict=True):
            if finding.kind != kind or finding.severity.rank < at_least.rank:
                continue
            if last.get(finding.site) not in (look, look - 1):
                steps.add(finding.step)
            last[finding.site] = look
        return np.array(sorted(steps), np.int64)


def told(run: Run, detectors: Sequence[Detector | type[Detector] | Rule] | None = None) -> Told:
    """Return what detectors find on a run, each from its first record on.

    An error in a detector is not caught: a benchmark of it has no result.

    Args:
        run: One run.
        detectors: Classes, instances (of which copies are run, so that one may be used for many runs), or
            functions from records to findings; the built-in detectors unless given.
    """
    chosen = default_detectors() if detectors is None else detectors
    running: list[Detector] = []
    rules: list[Rule] = []
    for each in chosen:
        if isinstance(each, Detector):
            running.append(copy.deepcopy(each))
        elif isinstance(each, type):
            running.append(each())
        else:
            rules.append(each)
    found = [*_replayed(run, running)]
    places = {step: place for place, step in enumerate(run.steps.tolist())}
    for rule in rules:
        found += [(finding, places[finding.step]) for finding in rule(run.records())]
    found.sort(key=lambda each: each[0].step)
    return Told(tuple(finding for finding, _ in found), tuple(look for _, look in found))


def alarms_of(
    run: Run, detector: Detector | type[Detector] | Rule, at_least: Severity = Severity.INFO
) -> dict[str, Alarms]:
    """Return the steps that one detector announces on a run, by kind; the entry for a detector of one's own.

    Args:
        run: One run.
        detector: As ``told`` takes it.
        at_least: Lesser findings are passed over.
    """
    said = told(run, [detector])
    return {kind: said.alarms(kind, at_least) for kind in said.kinds}


def _replayed(run: Run, detectors: Sequence[Detector]) -> Iterator[tuple[Finding, int]]:
    """Give each detector the records that concern it, as the live diagnosis does."""
    looks = [0] * len(detectors)
    chosen: dict[tuple[str, ...], list[int]] = {}
    for record in run.records():
        if record.tags not in chosen:
            chosen[record.tags] = [n for n, each in enumerate(detectors) if each.concerns(record.tags)]
        for number in chosen[record.tags]:
            for finding in detectors[number].update(record):
                yield finding, looks[number]
            looks[number] += 1
