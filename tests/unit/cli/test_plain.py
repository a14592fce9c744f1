"""Progress where nothing can be drawn again."""

import io
import sys

import pytest

from stabilitykit.records import IncidentChange, Severity, StepRecord
from stabilitykit_cli import consoles
from stabilitykit_cli.plain import PlainListener

from .conftest import a_plan, an_incident, play, readings


@pytest.fixture
def stream():
    return io.StringIO()


def test_a_run_is_about_a_dozen_lines_without_control_codes(stream):
    play(PlainListener(stream, clock=lambda: 0.0), a_plan(steps=200), steps=200)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "probe post_norm: 200 steps, LR 0.01, warmup 0, seed 1, 6 blocks, 339k parameters"
    assert lines[1].startswith("corpus: python library")
    assert lines[2] == "folder: runs/post_norm-1"
    steps = [line.split()[1].rstrip(",") for line in lines if "/200" in line]
    assert steps == [f"{done}/200" for done in range(20, 201, 20)]
    assert "\x1b" not in stream.getvalue()


def test_a_progress_line_has_loss_rate_gradient_and_time_left(stream):
    times = iter([0.0, *[10.0] * 50])
    play(PlainListener(stream, clock=lambda: next(times)), a_plan(), steps=2)
    last = stream.getvalue().splitlines()[-1]
    assert last == "step 2/20, loss 5.06, lr 0.01, grad norm 0.500, 1:30 left"


def test_a_run_that_is_not_observed_at_every_step_is_told_of_too(stream):
    listener = PlainListener(stream)
    listener.started(a_plan(steps=300))
    for step in range(0, 300, 10):
        listener.record(StepRecord.of(step, readings(step)))
    assert stream.getvalue().count("loss") == 9


def test_fewer_steps_than_lines(stream):
    play(PlainListener(stream), a_plan(steps=3), steps=3)
    assert stream.getvalue().count("step ") == 3


def test_readings_may_be_missing_or_nan(stream):
    listener = PlainListener(stream)
    listener.started(a_plan(steps=1))
    listener.record(StepRecord.of(0, {"train/loss": float("nan")}))
    assert "loss nan, lr -, grad norm -," in stream.getvalue()


def test_incidents_are_told_when_they_open_grow_worse_and_close(stream):
    listener = PlainListener(stream)
    listener.started(a_plan())
    worse = an_incident(severity=Severity.CRITICAL)
    changes = [
        ("opened", an_incident()),
        ("updated", an_incident(value=0.001)),
        ("updated", worse),
        ("closed", an_incident(severity=Severity.CRITICAL, end=9)),
    ]
    for step, (what, incident) in enumerate(changes):
        listener.incident(IncidentChange(what, step, incident))
    told = stream.getvalue().splitlines()[3:]
    assert [line.split()[2] for line in told] == ["opened", "updated", "closed"]
    assert told[0].endswith("vanishing_gradient at blocks.00 (warning): gradient share 0.002 [below 0.01]")
    assert told[2].endswith("steps 4 to 9")


def test_notices_are_one_line(stream):
    PlainListener(stream).notice("disk full\nat step 3")
    assert stream.getvalue() == "note: disk full at step 3\n"


def test_a_stream_that_closes_does_not_end_training():
    class Gone(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            raise BrokenPipeError

    gone = Gone()
    play(PlainListener(gone), a_plan())
    assert gone.writes == 1


def test_a_file_is_not_drawn_on_even_where_colour_is_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not consoles.can_redraw(consoles.progress())


def test_records_before_the_start_are_ignored(stream):
    PlainListener(stream).record(StepRecord.of(0, readings(0)))
    assert stream.getvalue() == ""
