"""The live view, drawn on a console that records."""

import io
from itertools import pairwise

import pytest
from rich.console import Console

from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit_cli.live import FRAME_SECONDS, LiveListener
from stabilitykit_cli.progress import RunProgress, Trend
from stabilitykit_cli.render import LiveFrame
from stabilitykit_cli.render.curve import LossCurve
from stabilitykit_cli.render.words import ASCII, UNICODE

from .conftest import N_BLOCKS, a_plan, an_incident, play, readings


def a_progress(steps: int = 10, readings_of=readings, **plan) -> RunProgress:
    progress = RunProgress(a_plan(**plan), clock=lambda: 0.0)
    for step in range(steps):
        progress.add(StepRecord.of(step, readings_of(step)))
    return progress


def a_console(width: int = 80, height: int = 24, encoding: str = "utf-8", **settings) -> Console:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(
        file=stream,
        width=width,
        height=height,
        record=True,
        force_terminal=True,
        color_system="truecolor",
        **settings,
    )


def drawn(progress: RunProgress, styles: bool = False, **settings) -> str:
    console = a_console(**settings)
    console.print(LiveFrame(progress))
    return console.export_text(styles=styles)


@pytest.mark.parametrize("width", [80, 110])
def test_a_frame_shows_the_run_the_blocks_and_the_incidents(width):
    progress = a_progress()
    progress.change(IncidentChange("opened", 5, an_incident()))
    frame = drawn(progress, width=width)
    for told in (
        "post_norm  6 blocks, 339k parameters",
        "20 steps, LR 0.01, warmup 0, seed 1",
        "python library, 10.9 MB",
        "over unigram",
        "grad norm",
        "10/20",
        "left",
        *("residual RMS", "grad share", "max logit", "entropy", "update ratio"),
        "1 open, 0 closed",
        "gradient share 0.002 [below 0.01]",
    ):
        assert told in frame
    rows = [line.split() for line in frame.splitlines() if line[3:5].isdigit() and line[3] == "0"]
    assert [row[row.index(f"{block:02d}")] for block, row in enumerate(rows)] == [
        f"{block:02d}" for block in range(N_BLOCKS)
    ]
    assert "2.0e-3" in rows[0]


@pytest.mark.parametrize("n_blocks", [1, 6, 40])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (110, 50), (64, 18), (40, 12), (20, 5)])
def test_a_frame_fits_its_terminal(width, height, encoding, n_blocks):
    progress = a_progress(readings_of=lambda step: readings(step, n_blocks), n_blocks=n_blocks)
    progress.notice = "the disk is full, the last step kept is 3"
    for number in range(12):
        progress.change(IncidentChange("opened", 5, an_incident(id=number)))
    lines = drawn(progress, width=width, height=height, encoding=encoding).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    if encoding == "ascii":
        assert "\n".join(lines).isascii()


def test_frames_of_a_run_have_one_height_so_that_nothing_jumps():
    progress = a_progress(steps=0)
    before = drawn(progress).count("\n")
    progress.change(IncidentChange("opened", 5, an_incident()))
    progress.add(StepRecord.of(0, readings(0)))
    assert drawn(progress).count("\n") == before
    progress.finished = True
    assert drawn(progress).count("\n") < before


def test_the_marked_block_is_marked_without_colour_too():
    progress = a_progress()
    progress.change(IncidentChange("opened", 5, an_incident(site="blocks.02.resid_post")))
    assert " ● 02 " in drawn(progress, no_color=True)
    progress.change(IncidentChange("closed", 6, an_incident(site="blocks.02.resid_post", end=6)))
    frame = drawn(progress)
    assert " ● 02 " not in frame
    assert " ○ " in frame


def test_no_colour_is_no_colour():
    progress = a_progress()
    progress.change(IncidentChange("opened", 5, an_incident()))
    assert "\x1b[33m" in drawn(progress, styles=True)
    plain = a_console(no_color=True)
    with plain.capture() as captured:
        plain.print(LiveFrame(progress))
    assert "\x1b[33m" not in captured.get()


def test_only_the_number_that_the_incident_speaks_of_takes_its_colour():
    progress = a_progress()
    progress.change(IncidentChange("opened", 5, an_incident()))
    row = next(line for line in drawn(progress, styles=True).splitlines() if "2.0e-3" in line)
    assert "\x1b[1;33m2.0e-3" in row
    assert "\x1b[33m1.00" not in row


def test_missing_and_nan_readings_are_shown_as_such():
    found = readings(0)
    del found["attn/entropy/blocks.01"]
    found["act/rms/blocks.02.resid_post"] = float("nan")
    found["train/loss"] = float("inf")
    frame = drawn(a_progress(steps=3, readings_of=lambda step: found))
    block_1, block_2 = (
        next(line for line in frame.splitlines() if line.startswith(f"   0{n}")) for n in (1, 2)
    )
    assert "–" in block_1
    assert "nan" in block_2
    assert "inf" in frame
    assert "×" in frame


def test_a_run_without_any_reading_can_be_drawn():
    assert "0/20" in drawn(a_progress(steps=0))
    assert "1/20" in drawn(a_progress(steps=1, readings_of=lambda step: {}))


def test_of_many_incidents_the_first_and_the_newest_stay():
    progress = a_progress()
    for number in range(30):
        progress.change(IncidentChange("opened", number, an_incident(id=number, detected=100 + number)))
    frame = drawn(progress)
    assert " 100 " in frame
    assert " 129 " in frame
    assert " 110 " not in frame


def test_of_many_blocks_those_with_an_incident_stay():
    progress = a_progress(readings_of=lambda step: readings(step, 40), n_blocks=40)
    progress.change(IncidentChange("opened", 5, an_incident(site="blocks.17")))
    frame = drawn(progress)
    assert " ● 17 " in frame
    assert "\n   00 " in frame
    assert "\n   39 " in frame


def test_nothing_is_drawn_between_frames():
    now = [0.0]
    console = a_console()
    draws = []
    with LiveListener(console, "post_norm", clock=lambda: now[0]) as listener:
        listener._live.update = lambda frame, refresh: draws.append(now[0])  # type: ignore[method-assign]
        listener.started(a_plan(steps=100))
        for step in range(100):
            now[0] += FRAME_SECONDS / 10
            listener.record(StepRecord.of(step, readings(step)))
    times = draws[:-1]  # the last one belongs to the end
    assert len(times) == pytest.approx(10, abs=1)
    assert all(later - sooner >= FRAME_SECONDS * 0.99 for sooner, later in pairwise(times))


def test_the_last_frame_stays_on_the_screen():
    console = a_console()
    with LiveListener(console, "post_norm", clock=lambda: 0.0) as listener:
        play(listener, a_plan())
        listener.notice("disk full")
    shown = console.export_text()
    assert "20/20" in shown
    assert "disk full" in shown
    assert "vanishing_gradient" in shown


def test_a_run_that_never_began_leaves_nothing_on_the_screen():
    console = a_console()
    with LiveListener(console, "post_norm", clock=lambda: 0.0) as listener:
        listener.started(a_plan())
    assert listener._live.transient


def test_an_error_before_the_first_frame_passes_through():
    console = a_console()
    with (
        pytest.raises(ValueError, match="early"),
        console.capture() as captured,
        LiveListener(console, "post_norm"),
    ):
        raise ValueError("early")
    assert not console._live_stack
    written = captured.get()
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # the cursor is back
    assert written.endswith("\x1b[1A\x1b[2K")  # and the line gone


def test_a_terminal_that_goes_away_does_not_end_training(monkeypatch):
    console = a_console()
    with LiveListener(console, "post_norm", clock=lambda: 0.0) as listener:
        monkeypatch.setattr(listener._live, "update", _raise)
        play(listener, a_plan())


def _raise(*arguments, **settings):
    raise BrokenPipeError


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_a_spike_of_one_step_is_seen_in_a_long_run(glyphs):
    trend = Trend(10_000)
    for step in range(10_000):
        trend.add(step, 9.0 if step == 5_000 else 6.0 if step == 0 else 3.0)
    top = LossCurve(trend, None, 20, 4, glyphs).rows()[0].plain
    assert top[10].strip()
    assert not top[11:].strip()


def test_the_curve_joins_neighbours_without_gaps():
    trend = Trend(4)
    for step, loss in enumerate([8.0, 1.0, 8.0, 1.0]):
        trend.add(step, loss)
    rows = [row.plain for row in LossCurve(trend, None, 2, 4, UNICODE).rows()]
    assert all(row.strip() for row in rows)


def test_the_curve_goes_on_where_not_every_step_is_observed():
    trend = Trend(200)
    for step in range(0, 100, 10):
        trend.add(step, 3.0)
    rows = [row.plain for row in LossCurve(trend, None, 50, 1, UNICODE).rows()]
    assert len(rows[0].strip()) >= 22
    assert not rows[0][25:].strip()


def test_the_reference_is_drawn_where_there_is_no_loss():
    trend = Trend(10)
    trend.add(0, 5.0)
    curve = LossCurve(trend, 3.0, 10, 4, UNICODE)
    assert curve.reference_row == 3
    assert curve.rows()[3].plain.count("╌") == 10
