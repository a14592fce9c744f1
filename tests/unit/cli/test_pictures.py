"""``diagnose --plot`` and ``--picture``: what is drawn, and what cannot be."""

import math
import sys
from types import SimpleNamespace

import pytest

from stabilitykit.figures import RunCurves
from stabilitykit.records import Severity, StepRecord
from stabilitykit_cli.app import main

from .conftest import a_verdict, an_incident


def curves(broken: bool = False) -> RunCurves:
    """Return a loss that falls, with a spike at step 50, and a gradient norm."""
    found = RunCurves()
    for step in range(100):
        loss = 9.0 if step == 50 else 3.0 - step / 100
        loss = math.nan if broken and step > 80 else loss
        found.add(StepRecord.of(step, {"train/loss": loss, "optim/grad_norm": 1.0}))
    return found


@pytest.fixture
def diagnose(stabilitykit, library, monkeypatch):
    """Runs ``diagnose`` on logs whose curves are known."""
    spikes = [
        an_incident(id=0, kind="loss_spike", site="train/loss", start=50, detected=50, peak=50, end=50),
        an_incident(
            id=1, kind="nonfinite", site="train/loss", start=81, detected=81, severity=Severity.CRITICAL
        ),
    ]
    library.logs = {
        "a.csv": a_verdict("diverged", incidents=tuple(spikes)),
        "b.csv": a_verdict("stable"),
    }

    def replay(path, **settings):
        verdict = library.logs[str(path)]
        return SimpleNamespace(verdict=verdict, notes=(), source="csv", curves=curves(path.name == "a.csv"))

    monkeypatch.setattr("stabilitykit.afterwards.replay.replay", replay)
    return lambda *arguments: stabilitykit("diagnose", *arguments)


def test_the_plot_stands_above_the_verdict_and_names_kinds_and_steps(diagnose):
    lines = diagnose("a.csv", "--plot").out.splitlines()
    assert lines[0] == "diverged  a.csv"
    assert lines[1].strip() == "loss"
    assert any("gradient norm" in line for line in lines)
    assert sum("×" in line for line in lines[:20]) == 1
    spike = next(index for index, line in enumerate(lines) if "loss_spike: 50" in line)
    assert lines[spike - 1].strip() == "△"
    broken = lines.index(next(line for line in lines if "nonfinite: 81 on" in line))
    assert set(lines[broken - 1].strip()) == {"◆", "━"}
    assert "the loss says diverged" in "\n".join(lines[broken:])
    assert max(map(len, lines)) <= 100
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize("width", ["20", "45", "200"])
def test_the_plot_keeps_to_the_width(diagnose, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    lines = diagnose("a.csv", "--plot").out.splitlines()
    assert max(map(len, lines[:20])) <= int(width)


def test_a_terminal_without_unicode_gets_ascii(diagnose, monkeypatch):
    monkeypatch.setattr("rich.console.Console.encoding", "ascii")
    out = diagnose("a.csv", "--plot").out
    plot = out[: out.index("the loss says")]
    assert plot.isascii()
    assert "#===" in plot
    assert "|*" in plot


@pytest.mark.parametrize("colourless", [True, False])
def test_colours_are_left_out_where_none_are_wanted(diagnose, monkeypatch, colourless):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    if colourless:
        monkeypatch.setenv("NO_COLOR", "1")
    out = diagnose("a.csv", "--plot").out
    assert ("\x1b[31m" in out) is not colourless
    assert ("\x1b[36m" in out) is not colourless


def test_several_runs_are_drawn_one_below_the_other(diagnose):
    out = diagnose("a.csv", "b.csv", "--plot").out
    assert out.index("diverged  a.csv") < out.index("stable  b.csv") < out.index("the loss says diverged")
    assert "gradient norm" not in out


def test_a_picture_is_written_beside_the_verdict_and_replaced_when_asked_again(diagnose, tmp_path):
    path = tmp_path / "a.html"
    ended = diagnose("a.csv", "b.csv", "--json", "--picture", str(path))
    assert (ended.status, ended.err) == (0, f"picture written: {path}\n")
    assert ended.out.startswith("{")
    assert b"b.csv" in path.read_bytes()
    assert diagnose("a.csv", "-o", str(path)).err == f"picture replaced: {path}\n"
    assert b"b.csv" not in path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--plot", "--json"], 2, "--plot: stdout belongs to --json"),
        (["-o", "a.gif"], 2, "accepted endings: .png, .svg, .pdf, .html"),
        (["-o", "nowhere/a.html"], 1, "nowhere/a.html: no such folder: nowhere"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_read(diagnose, library, arguments, status, said):
    library.logs = {}
    ended = diagnose("a.csv", *arguments)
    assert (ended.status, ended.out) == (status, "")
    assert ended.err.count("\n") == 1
    assert said in ended.err


def test_without_the_extra_one_line_names_it(diagnose, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = diagnose("a.csv", "-o", "a.png")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("error: a.png: a picture as .png needs matplotlib: pip install")


def test_a_picture_that_cannot_be_written_leaves_the_verdict(diagnose, tmp_path):
    ended = diagnose("a.csv", "-o", str(tmp_path / "folder.html"))
    assert ended.status == 0
    (tmp_path / "taken.html").mkdir()
    ended = diagnose("a.csv", "-o", str(tmp_path / "taken.html"))
    assert ended.status == 1
    assert "the loss says diverged" in ended.out
    assert "cannot be written (Is a directory)" in ended.err


def test_drawing_in_the_terminal_loads_no_drawing_library(tmp_path, capsys):
    log = tmp_path / "a.csv"
    log.write_text("step,loss\n" + "".join(f"{step},{3 - step / 50}\n" for step in range(40)))
    assert main(["diagnose", str(log), "--plot"]) == 0
    assert "stable" in capsys.readouterr().out
