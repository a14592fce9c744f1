"""Following a growing log: it goes on where it stood, and tells what a finished reading would."""

import math
from pathlib import Path

import pytest

from stabilitykit.afterwards.follow import Follow
from stabilitykit.afterwards.replay import ColumnNames, replay
from stabilitykit.errors import ConfigError, DataError
from stabilitykit.records import StepRecord
from stabilitykit.store import RunWriter


def line(step: int, bump: float = 0.0) -> str:
    return f"step {step} loss {2 + 4 * math.exp(-step / 20) + 0.02 * math.sin(step * step) + bump:.4f}\n"


class Log:
    """A log that something writes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def add(self, *texts: str) -> None:
        with self.path.open("a") as file:
            file.write("".join(texts))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "train.log")


def test_incidents_are_told_as_they_open_and_close(log: Log):
    follow = Follow(log.path)
    assert "train.log" in str(follow.look().waiting)
    log.add("starting\n", *map(line, range(60)))
    assert follow.look().changes == ()
    log.add(line(60, 8.0)[:-4])
    assert follow.look().changes == (), "half a line is none"
    log.add(line(60, 8.0)[-4:], line(61))
    (change,) = follow.look().changes
    assert (change.what, change.step, change.incident.kind) == ("opened", 60, "loss_spike")
    log.add(*map(line, range(62, 120)))
    assert [change.what for change in follow.look().changes] == ["closed"]
    ended = follow.end()
    whole = replay(log.path)
    assert ended.verdict.incidents == whole.verdict.incidents
    assert (ended.verdict.steps, ended.verdict.outcome, ended.source) == (120, "recovered", whole.source)
    assert not ended.verdict.complete


def test_a_log_is_understood_when_it_shows_enough(log: Log):
    log.add("step 0: train loss 9.9, val loss 9.9\n", "iter 0: loss 3.0\n")
    follow = Follow(log.path)
    assert "fewer than 3 losses in it so far" in str(follow.look().waiting)
    assert Follow(log.path).end().verdict.steps == 1
    log.add(*(f"iter {i}: loss 3.0\n" for i in range(1, 9)))
    assert follow.look().waiting is None
    ended = follow.end()
    assert (ended.source, ended.verdict.steps) == ("text log: train/loss from 'loss', step from 'iter'", 9)


def test_a_step_back_is_judged_as_in_a_finished_log(log: Log):
    follow = Follow(log.path)
    log.add(*map(line, range(100)))
    follow.look()
    log.add(*(line(step, 9.0 * (step == 80)) for step in range(70, 90)))
    follow.look()
    news = follow.look()
    assert news.anew == "it went back to an earlier step"
    assert [change.step for change in news.changes if change.what == "opened"] == [80]
    assert follow.look().anew is None
    ended = follow.end()
    assert (ended.verdict.steps, ended.verdict.incidents) == (90, replay(log.path).verdict.incidents)


def test_a_rotated_and_a_cut_log_are_noticed(log: Log):
    log.add(*map(line, range(50)))
    follow = Follow(log.path)
    follow.look()
    log.path.rename(log.path.with_suffix(".1"))
    assert follow.look().anew is None, "the new one is not there yet"
    log.path.touch()
    log.add(*map(line, range(5)))
    assert follow.look().anew == "it was replaced, cut or written anew"
    log.path.write_text("".join(line(step, 1.0) for step in range(30)))
    assert follow.look().anew == "it was replaced, cut or written anew"
    assert follow.end().verdict.steps == 30


def test_a_runs_folder_ends_by_itself(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", {})
    follow = Follow(tmp_path / "run")
    for step in range(80):
        writer.record(
            StepRecord.of(step, {"train/loss": 2.0 + (9.0 if step == 60 else 0.01 * math.sin(step**2))})
        )
    writer.flush()
    news = follow.look()
    assert [change.what for change in news.changes] == ["opened", "closed"]
    assert not news.finished
    writer.verdict({"verdict": "recovered", "complete": True})
    writer.close()
    assert follow.look().finished
    assert follow.end().verdict == replay(tmp_path / "run").verdict


def test_what_can_never_be_followed_is_said_at_once(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        Follow(tmp_path / "nowhere")
    RunWriter(tmp_path / "run", {}).close()
    with pytest.raises(ConfigError, match="step: got 'it'"):
        Follow(tmp_path / "run", names=ColumnNames(step="it"))
    (tmp_path / "empty.log").touch()
    with pytest.raises(DataError, match="empty"):
        Follow(tmp_path / "empty.log").end()
