"""What pictures are drawn from: curves out of records, and incidents in lanes."""

import math

from stabilitykit.figures.lanes import incident_lanes
from stabilitykit.figures.run_picture import RunCurves, RunPicture, printable
from stabilitykit.records import Severity, StepRecord

from .conftest import an_incident


def test_curves_follow_tags_that_come_and_go():
    curves = RunCurves()
    curves.add(StepRecord.of(0, {"train/loss": 3.0}))
    curves.add(StepRecord.of(1, {"optim/grad_norm": 2.0, "train/loss": 2.5}))
    curves.add(StepRecord.of(2, {"optim/lr": 1.0}))
    curves.add(StepRecord.of(3, {"train/loss": 9.0, "train/cross_entropy": math.nan}))
    assert [list(lap.steps) for lap in curves.loss.laps] == [[0, 1, 3]]
    assert list(curves.loss.laps[0].broken) == [3]
    assert curves.grad_norm.laps[0].values.tolist() == [2.0]


def test_a_gradient_norm_is_a_panel_of_its_own(make_run):
    incidents = [
        an_incident(0, "gradient_spike", 3, 3, Severity.WARNING),
        an_incident(1, "loss_spike", 4, 5, Severity.CRITICAL),
        an_incident(2, "rank_collapse", 4, None, Severity.WARNING),
    ]
    run = make_run([3.0, 2.0, 2.0, 2.0, 5.0, 2.0], [1.0, 1.0, 1.0, 8.0, 1.0, 1.0], incidents)
    loss, norm = run.panels
    assert (loss.peaks, norm.peaks) == ([(4, 5.0)], [(3, 8.0)])
    assert [mark.start for mark in loss.marks] == [4]
    assert [panel.name for panel in make_run([1.0]).panels] == ["loss"]


def test_lanes_are_kinds_those_of_the_loss_first():
    incidents = [
        an_incident(0, "rank_collapse", 1, 2, Severity.WARNING),
        an_incident(1, "divergence", 9, None, Severity.CRITICAL),
        an_incident(2, "loss_spike", 3, 4, Severity.WARNING),
        an_incident(3, "loss_spike", 7, 7, Severity.WARNING),
    ]
    lanes = incident_lanes(incidents)
    assert [lane.label for lane in lanes] == ["loss_spike ×2", "divergence", "rank_collapse"]
    assert lanes[1].marks[0].end is None


def test_titles_can_be_printed(make_run):
    assert printable("a\x00b\x1b[31m\udcffc") == "a�b�[31m�c"
    assert make_run([1.0], title="a\nb").title == "a�b"


def test_nothing_recorded_is_a_picture_too(make_run):
    run = make_run([])
    assert isinstance(run, RunPicture)
    assert run.span == (0, 0)
    assert run.panels[0].peaks == []
