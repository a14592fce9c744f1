"""Replay is the law: a run's folder gives exactly the incidents of the live run. Logs, and what is none."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from stabilitykit import diagnose
from stabilitykit.afterwards.replay import ColumnNames, replay
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.errors import ConfigError, DataError, RunFolderError
from stabilitykit.records import StepRecord, Verdict
from stabilitykit.store import RunWriter, open_run

LOSS, UNIGRAM = "train/loss", "train/unigram_cross_entropy"
N = 140


def loss_at(i: int) -> float:
    if i in (61, 62):
        return math.nan
    bump = {50: 4.0, 51: 1.5, 58: 3.0}.get(i, 0.0)
    return 2.0 + 3.0 * math.exp(-i / 20) + bump + 0.05 * math.sin(7.1 * i * i) + 0.03 * max(0, i - 100)


def eventful(first: int = 0, last: int = N) -> list[StepRecord]:
    """Return records with several incidents, holes of both sorts, and tags that come and go."""
    made = []
    for i in range(first, last):
        readings = {LOSS: loss_at(i), "optim/grad_norm": 900.0 if i == 50 else 1.0 + 0.1 * math.sin(i)}
        if i % 10:
            readings["act/rms/blocks.00.resid_post"] = 1.0 / 3 if i < 70 else 90.0 if i < 95 else math.inf
        if i > 20:
            readings["grad/share/blocks.00"] = 0.3 if i < 60 else 1e-4
            readings["grad/share/blocks.01"] = 0.9
            readings["grad/share/embed"] = 0.1 if i < 60 else 1e-6
        made.append(StepRecord.of(i if i < 80 else i + 11, readings))
    return made


def live(folder: Path, records, diagnosis=None, resume=False, complete=True) -> Diagnosis:
    diagnosis = diagnosis or Diagnosis()
    writer = RunWriter(folder, {"seed": 1}, resume=resume)
    for record in records:
        changes = diagnosis.update(record)
        writer.record(record)
        for change in changes:
            writer.incident(change)
    if complete:
        writer.verdict(diagnosis.verdict().to_json())
    writer.close()
    return diagnosis


def test_replay_gives_exactly_the_incidents_of_the_live_run(tmp_path):
    lived = live(tmp_path, eventful())
    replayed = replay(tmp_path)
    assert repr(replayed.verdict) == repr(lived.verdict())
    assert len(lived.incidents) >= 6
    assert {i.is_open for i in lived.incidents} == {True, False}
    assert (replayed.source, replayed.notes) == ("run folder", ())
    # What stands on disk is the same: verdict as JSON, incidents as they were told.
    assert replayed.verdict.to_json().items() <= open_run(tmp_path).verdict.items()
    closed = [repr(incident) for incident in replayed.verdict.incidents if not incident.is_open]
    assert [repr(each) for each in open_run(tmp_path).incidents if not each.is_open] == closed


def test_a_run_that_was_cut_and_resumed_replays_as_it_was_lived(tmp_path):
    first = live(tmp_path, eventful(0, 65), complete=False)
    checkpoint = json.dumps(first.state_dict())
    live(tmp_path, [*eventful(65, 90)], first, resume=True, complete=False)
    resumed = Diagnosis()
    resumed.load_state_dict(json.loads(checkpoint))
    # Steps 65 to 89 are lived again, and otherwise.
    again = [StepRecord.of(r.step, {**r.readings, "optim/grad_norm": 500.0}) for r in eventful(65, 90)]
    live(tmp_path, [*again, *eventful(90)], resumed, resume=True)
    assert repr(replay(tmp_path).verdict) == repr(resumed.verdict())
    assert repr(resumed.incidents) != repr(live(tmp_path / "other", eventful()).incidents)


def test_an_interrupted_run_is_marked(tmp_path):
    live(tmp_path, eventful(0, 55), complete=False)
    verdict = diagnose(tmp_path)
    assert isinstance(verdict, Verdict)
    assert (verdict.complete, verdict.steps) == (False, 55)
    assert diagnose(str(tmp_path), format="run") == verdict


def test_damage_is_noted_and_what_is_left_replayed(tmp_path):
    live(tmp_path, eventful(0, 15))
    (tmp_path / "verdict.json").write_text("{")
    replayed = replay(tmp_path)
    assert replayed.verdict.steps == 15
    assert replayed.verdict.complete is False
    assert ["verdict.json" in note for note in replayed.notes] == [True]


def write_csv(path: Path, header, rows) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.mark.parametrize("format", ["auto", "csv"])
def test_a_csv_log_is_diagnosed_as_the_run_would_have_been(tmp_path, format):
    rows = [(i, repr(loss_at(i)), 3.2, "x") for i in range(N)]
    path = write_csv(tmp_path / "log.csv", ("step", "loss", "unigram_ce", "note"), rows)
    diagnosis = Diagnosis()
    for i in range(N):
        diagnosis.update(StepRecord.of(i, {LOSS: loss_at(i), UNIGRAM: 3.2}))
    replayed = replay(path, format=format)
    assert repr(replayed.verdict) == repr(diagnosis.verdict())
    assert replayed.verdict.incidents[0].kind == "loss_spike"
    assert "train/loss from 'loss'" in replayed.source
    assert "train/unigram_cross_entropy from 'unigram_ce'" in replayed.source


def test_a_csv_logs_loss_may_be_named(tmp_path):
    path = write_csv(tmp_path / "log.csv", ("nll", "loss"), [(loss_at(i), 1.0) for i in range(60)])
    assert diagnose(path).outcome == "stable"
    assert diagnose(path, loss="nll").outcome == "recovered"


def test_cells_without_unigram_cross_entropy_are_no_spikes(tmp_path):
    rows = [(2.5, 3.0 if i % 10 else "") for i in range(100)]
    path = write_csv(tmp_path / "log.csv", ("loss", "unigram_ce"), rows)
    assert (diagnose(path).outcome, diagnose(path).incidents) == ("stable", ())


def missing(folder):
    return folder / "nowhere"


def no_run(folder):
    (folder / "some.txt").write_text("text")
    return folder


def no_step(folder):
    RunWriter(folder / "run", {}).close()
    return folder / "run"


def no_loss(folder):
    return write_csv(folder / "log.csv", ("step", "accuracy"), [(0, 0.5)])


def a_log(folder):
    return write_csv(folder / "log.csv", ("step", "loss"), [(0, 0.5)])


def a_run(folder):
    live(folder / "run", eventful(0, 3))
    return folder / "run"


def empty(folder):
    (folder / "log.csv").touch()
    return folder / "log.csv"


def test_a_run_without_a_step_is_unknown(tmp_path):
    verdict = replay(no_step(tmp_path)).verdict
    assert (verdict.outcome, verdict.reason) == ("unknown", "no step was recorded")


@pytest.mark.parametrize(
    ("make", "arguments", "error", "text"),
    [
        (missing, {}, DataError, "no such file or folder"),
        (missing, {"format": "csv"}, DataError, "no such file or folder"),
        (no_run, {}, DataError, "not a run's folder"),
        (no_run, {"format": "csv"}, DataError, "no log with a loss"),
        (a_log, {"format": "run"}, DataError, "not a run's folder"),
        (no_loss, {}, DataError, "no loss column"),
        (empty, {}, DataError, "empty"),
        (a_log, {"names": ColumnNames(loss="los")}, DataError, "no column 'los'; did you mean 'loss'?"),
        (a_run, {"names": ColumnNames(loss="train/loss")}, ConfigError, "loss: got 'train/loss'"),
    ],
)
def test_what_cannot_be_diagnosed_is_said_in_one_line(tmp_path, make, arguments, error, text):
    path = make(tmp_path)
    with pytest.raises(error) as raised:
        replay(path, **arguments)
    assert text in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_folder_of_a_newer_version_is_left_alone(tmp_path):
    path = a_run(tmp_path)
    config = path / "config.yaml"
    config.write_text(config.read_text().replace("schema_version: 1", "schema_version: 99"))
    with pytest.raises(RunFolderError, match="schema_version 99 is newer"):
        diagnose(path)


def test_a_replay_keeps_the_curves_to_draw(tmp_path):
    live(tmp_path / "run", eventful())
    curves = replay(tmp_path / "run").curves
    assert curves.loss.points == curves.grad_norm.points == N
    assert curves.loss.span == (0, N + 10)
    assert curves.loss.near(50) == (50, pytest.approx(loss_at(50)))
    assert [list(lap.broken) for lap in curves.loss.laps] == [[61, 62]]


def test_replaying_loads_no_torch(tmp_path):
    live(tmp_path, eventful())
    code = (
        "import sys; from stabilitykit import diagnose; print(diagnose(sys.argv[1])); "
        "print(sorted({'torch', 'lightning', 'tensorboard', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["diverged", "[]"]
