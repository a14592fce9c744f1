"""Findings become incidents: merged over a span, in order, with their evidence, closed."""

import math

import pytest

from stabilitykit.detect import Detector
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.records import Finding, Severity, StepRecord

INFO, WARNING, CRITICAL = Severity
LOSS = "train/loss"


class Script(Detector):
    """Says what it was told to say at each record.

    Args:
        kind: The kind of its findings.
        lines: Number of the record to findings of (site, value, severity, since); the threshold is 1.
    """

    def __init__(self, kind, lines, quiet=3, direction=1):
        self.kind, self.quiet, self.direction = kind, quiet, direction
        self._lines, self._seen = lines, 0

    def update(self, record):
        said = self._lines.get(self._seen, [])
        self._seen += 1
        return [
            Finding(self.kind, site, record.step, record.step + since, value, 1.0, severity, f"{site}!")
            for site, value, severity, since in said
        ]

    def state_dict(self):
        return {"seen": self._seen}

    def load_state_dict(self, state):
        self._seen = state["seen"]


def line(value=2.0, site=LOSS, severity=WARNING, since=0):
    return [(site, value, severity, since)]


def play(*scripts, n=100, step=1):
    """Return a diagnosis after ``n`` records, and every change it told of."""
    diagnosis = Diagnosis(scripts)
    changes = [c for i in range(n) for c in diagnosis.update(StepRecord.of(i * step, {LOSS: 1.0}))]
    return diagnosis, changes


def told(changes):
    return [(change.what, change.step, change.incident.id) for change in changes]


def test_findings_within_the_quiet_time_are_one_incident():
    diagnosis, changes = play(Script("loss_spike", {10: line(), 11: line(), 14: line()}))
    (incident,) = diagnosis.incidents
    assert (incident.start, incident.detected, incident.end) == (10, 10, 14)
    # Quiet for three records, 15 to 17: in the next one it is over.
    assert told(changes) == [("opened", 10, 0), ("closed", 18, 0)]
    assert changes[1].incident == incident


def test_beyond_the_quiet_time_there_are_two():
    diagnosis, changes = play(Script("loss_spike", {10: line(), 14: line()}))
    assert [(i.id, i.start, i.end) for i in diagnosis.incidents] == [(0, 10, 10), (1, 14, 14)]
    assert told(changes)[:3] == [("opened", 10, 0), ("closed", 14, 0), ("opened", 14, 1)]


def test_quiet_is_counted_in_records_and_told_in_steps():
    diagnosis, changes = play(Script("loss_spike", {10: line(), 13: line()}), step=10)
    assert [(i.start, i.end) for i in diagnosis.incidents] == [(100, 130)]
    assert told(changes) == [("opened", 100, 0), ("closed", 170, 0)]


def test_ids_follow_the_order_of_announcement_over_all_kinds():
    long = {i: line() for i in range(10, 60)}
    spikes = {i: line() for i in (5, 20, 40)}
    scripts = Script("divergence", long), Script("loss_spike", spikes), Script("stuck", {20: line()})
    diagnosis, changes = play(*scripts)
    assert [(i.id, i.kind, i.start) for i in diagnosis.incidents] == [
        (0, "loss_spike", 5),
        (1, "divergence", 10),
        (2, "loss_spike", 20),
        (3, "stuck", 20),
        (4, "loss_spike", 40),
    ]
    assert [c.incident.id for c in changes if c.what == "opened"] == [0, 1, 2, 3, 4]


def test_the_site_and_start_are_those_that_left_first_and_the_value_is_the_worst():
    findings = [*line(9.0, "blocks.00", since=-1), *line(3.0, "blocks.01", since=-2), *line(2.0, "blocks.02")]
    diagnosis, _ = play(Script("activation_blow_up", {10: findings}))
    (incident,) = diagnosis.incidents
    assert (incident.site, incident.start, incident.detected) == ("blocks.01", 8, 10)
    assert (incident.value, incident.peak, incident.message) == (9.0, 10, "blocks.01!")


def test_a_rise_in_severity_is_news_and_a_fall_is_not():
    lines = {10: line(), 11: line(), 12: line(severity=CRITICAL), 13: line(), 14: line(severity=CRITICAL)}
    diagnosis, changes = play(Script("loss_spike", lines))
    assert told(changes) == [("opened", 10, 0), ("updated", 12, 0), ("closed", 18, 0)]
    assert [c.incident.severity for c in changes] == [WARNING, CRITICAL, CRITICAL]
    assert diagnosis.incidents[0].severity is CRITICAL


def test_a_peak_that_moved_is_told_once_when_asked_for():
    lines = {10: line(2.0), 11: line(5.0), 12: line(4.0)}
    diagnosis, changes = play(Script("loss_spike", lines), n=13)
    assert told(changes) == [("opened", 10, 0)]
    (change,) = diagnosis.untold()
    assert (change.what, change.step, change.incident.peak, change.incident.value) == ("updated", 12, 11, 5.0)
    assert change.incident == diagnosis.incidents[0]
    assert change.incident.is_open
    assert diagnosis.untold() == []
    assert play(Script("loss_spike", {10: line(math.nan), 11: line(math.nan)}), n=12)[0].untold() == []


@pytest.mark.parametrize(
    ("values", "direction", "peak"),
    [
        ([2, 3, 5, 4, 5], 1, 2),
        # Below the limit, where an incident lingers before it ends, nothing is extreme.
        ([1.01, 1.005, 0.5, 0.1], 1, 0),
        ([0.5, 0.2, 0.9, 3.0], -1, 1),
        ([2, math.inf, 3, math.inf], 1, 1),
        ([2, math.nan, math.nan, 5], 1, 1),
    ],
)
def test_the_peak_is_the_first_of_the_most_extreme_values(values, direction, peak):
    lines = {10 + i: line(float(value)) for i, value in enumerate(values)}
    diagnosis, changes = play(Script("vanishing_gradient", lines, direction=direction))
    (incident,) = diagnosis.incidents
    assert incident.peak == 10 + peak
    assert repr(incident.value) == repr(float(values[peak]))
    assert told(changes) == [("opened", 10, 0), ("closed", 10 + len(values) + 3, 0)]


def test_info_opens_nothing_and_changes_no_verdict():
    lines = {i: line(1e6, severity=INFO) for i in range(5, 95)}
    diagnosis, changes = play(
        Script("gradient_spike", lines), Script("update_spike", {50: line(severity=INFO)})
    )
    assert (diagnosis.incidents, changes) == ((), [])
    assert diagnosis.verdict().outcome == "stable"
    both = {10: line(severity=INFO), 12: line(), 13: line(severity=INFO), 40: line(severity=INFO)}
    diagnosis, _ = play(Script("gradient_spike", both))
    assert [(i.start, i.end, i.severity) for i in diagnosis.incidents] == [(12, 12, WARNING)]


def test_evidence_is_what_was_found_shortly_before_in_time_order():
    scripts = (
        Script("loss_spike", {60: line()}),
        Script("update_spike", {59: line(severity=INFO, site="blocks.01"), 5: line(severity=INFO)}),
        Script("gradient_spike", {60: line(severity=INFO, since=-3), 10: line(severity=INFO, site="old")}),
        Script("stuck", {61: line()}),
    )
    diagnosis, _ = play(*scripts)
    spike = diagnosis.incidents[0]
    assert [(f.kind, f.site, f.since) for f in spike.evidence] == [
        ("gradient_spike", "old", 10),
        ("gradient_spike", LOSS, 57),
        ("update_spike", "blocks.01", 59),
        ("loss_spike", LOSS, 60),
    ]
    assert any("far above the usual size" in cause for cause in spike.causes)
    assert "restore the optimizer's state together with the weights" in spike.remedies
    # What was last seen more than 50 records ago is none.
    later, _ = play(Script("loss_spike", {61: line()}), *scripts[2:3])
    assert "old" not in [finding.site for finding in later.incidents[0].evidence]


def test_only_the_first_of_a_kind_and_site_is_evidence():
    steady = {i: line(float(i), severity=INFO) for i in range(30, 61)}
    diagnosis, _ = play(Script("gradient_spike", steady), Script("loss_spike", {60: line()}))
    assert [f.step for f in diagnosis.incidents[0].evidence] == [30, 60]


def test_new_evidence_during_an_incident_is_news_and_stands_in_time_order():
    scripts = (
        Script("divergence", {i: line() for i in range(60, 80)}),
        Script("activation_blow_up", {70: line(severity=INFO, site="blocks.00", since=-20), 71: line()}),
    )
    diagnosis, changes = play(*scripts)
    divergence = diagnosis.incidents[0]
    assert [(f.kind, f.since) for f in divergence.evidence] == [
        ("activation_blow_up", 50),
        ("divergence", 60),
        ("activation_blow_up", 71),
    ]
    assert ("updated", 70, 0) in told(changes)
    assert divergence.causes[0].startswith("activations multiplied before the loss rose")
    assert "activations that multiplied before the loss rose" not in changes[0].incident.causes


def test_a_kind_and_site_that_comes_back_is_not_told_again():
    coming = {i: line(severity=INFO) for i in (10, 75)}
    long = {i: line() for i in range(9, 95)}
    diagnosis, changes = play(Script("divergence", long), Script("gradient_spike", coming))
    assert [f.step for f in diagnosis.incidents[0].evidence] == [9, 10]
    assert told(changes)[:3] == [("opened", 9, 0), ("updated", 10, 0), ("closed", 98, 0)]


def test_evidence_is_bounded_and_the_opening_finding_is_never_left_out():
    kinds = ("entropy_collapse", "rank_collapse", "norm_gain_drift", "update_spike", "attention_logit_growth")
    before = [finding for i in range(30) for finding in line(severity=INFO, site=f"blocks.{i:02d}", since=-9)]
    scripts = (
        *(Script(kind, {20: before, 30: before}) for kind in kinds),
        Script("loss_spike", {15: line(), 40: line(), 41: line()}),
    )
    diagnosis, _ = play(*scripts)
    first, second = diagnosis.incidents
    assert len(second.evidence) == 12
    # Of each kind the first sites: one that is seen at every site does not hide the others.
    assert [f.site for f in second.evidence if f.kind == kinds[1]] == ["blocks.00", "blocks.01", "blocks.02"]
    assert (LOSS, 40) in [(f.site, f.step) for f in second.evidence]
    assert [f.since for f in second.evidence] == sorted(f.since for f in second.evidence)
    assert [f.kind for f in first.evidence] == ["loss_spike"]


def test_the_second_of_two_incidents_has_the_evidence_between_them_and_not_the_first():
    scripts = (
        Script("loss_spike", {20: line(), 40: line()}),
        Script("update_spike", {39: line(severity=INFO)}),
    )
    diagnosis, _ = play(*scripts)
    second = diagnosis.incidents[1]
    assert [(f.kind, f.step) for f in second.evidence] == [
        ("update_spike", 39),
        ("loss_spike", 40),
    ]
    assert any("far above the usual size" in cause for cause in second.causes)


def test_a_kind_that_nobody_can_explain_is_an_incident_all_the_same(monkeypatch):
    monkeypatch.setattr("stabilitykit.detect.knowledge.KNOWLEDGE", {})
    diagnosis, _ = play(Script("rank_collapse", {10: line()}))
    assert [(i.kind, i.causes) for i in diagnosis.incidents] == [("rank_collapse", ())]


def test_the_changes_told_are_the_incidents():
    lines = {i: line(1.0 + i % 7, severity=WARNING if i % 11 else CRITICAL) for i in range(5, 90, 3)}
    diagnosis, changes = play(Script("loss_spike", lines, quiet=2), Script("stuck", lines, quiet=5))
    newest = {change.incident.id: change.incident for change in changes}
    closed = [incident for incident in diagnosis.incidents if not incident.is_open]
    assert [newest[incident.id] for incident in closed] == closed
    for incident in diagnosis.incidents:
        whats = [change.what for change in changes if change.incident.id == incident.id]
        assert whats[0] == "opened"
        assert whats.count("opened") == 1
        assert ("closed" in whats) is (not incident.is_open)
