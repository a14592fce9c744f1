"""``diagnose`` on real files: trees of logs, names that are given, and logs that grow."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stabilitykit.afterwards.replay import Replay, replay
from stabilitykit.store import RunWriter


def row(step: int, bump: float = 0.0) -> str:
    return f"{step},{2 + 4 * math.exp(-step / 20) + 0.02 * math.sin(step * step) + bump:.4f}\n"


def log(path: Path, steps: int = 80, spike: int | None = None, header: str = "step,loss") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + "\n" + "".join(row(step, 8.0 * (step == spike)) for step in range(steps)))
    return path


def test_every_log_below_a_folder(tmp_path: Path, stabilitykit):
    good, bad = log(tmp_path / "a" / "metrics.csv"), log(tmp_path / "b" / "metrics.csv", spike=60)
    (tmp_path / "notes.txt").write_text("nothing\n")
    ended = stabilitykit("diagnose", str(tmp_path), "--json", "--fail-on", "unstable")
    document = json.loads(ended.out)
    assert (ended.status, ended.err) == (3, "")
    assert (document["verdict"], document["path"]) == ("recovered", str(bad))
    assert [run["path"] for run in document["runs"]] == [str(good), str(bad)]
    assert (document["failed"], document["passed_over"]) == ([], [str(tmp_path / "notes.txt")])
    out = stabilitykit("diagnose", str(tmp_path)).out
    assert "note: without a training loss and passed over: 1 (--json lists them)" in out


def test_the_only_log_below_a_folder_is_told_as_one(tmp_path: Path, stabilitykit):
    path = log(tmp_path / "a" / "metrics.csv")
    (tmp_path / "notes.txt").write_text("nothing\n")
    document = json.loads(stabilitykit("diagnose", str(tmp_path), "--json").out)
    assert (document["path"], "runs" in document) == (str(path), False)


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("notes.txt", "more.log")])
def test_a_folder_without_a_log_is_one_line(tmp_path: Path, stabilitykit, names: tuple[str, ...]):
    for name in names:
        (tmp_path / name).write_text("nothing\n")
    ended = stabilitykit("diagnose", str(tmp_path))
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(f"error: {tmp_path}: not a run's folder, and no log")
    assert ended.err.count("\n") == 1


def test_columns_may_be_named(tmp_path: Path, stabilitykit):
    path = log(tmp_path / "log.csv", header="n,val_loss")
    ended = stabilitykit("diagnose", str(path))
    assert ended.status == 1
    assert "'val_loss' is of validation: name it" in ended.err
    ended = stabilitykit("diagnose", str(path), "--loss", "val_loss", "--step", "n", "--format", "csv")
    assert ended.status == 0
    assert "CSV: train/loss from 'val_loss', step from 'n' · 80 steps" in " ".join(ended.out.split())
    ended = stabilitykit("diagnose", str(path), "--loss", "val_los")
    assert ended.err == f"error: {path}: no column 'val_los'; did you mean 'val_loss'?\n"


def test_an_interrupted_reading_tells_what_there_is(tmp_path: Path, stabilitykit, monkeypatch):
    paths = [log(tmp_path / "a.csv"), log(tmp_path / "b.csv")]

    def interrupted(path: Path, **settings: object) -> Replay:
        if path == paths[1]:
            raise KeyboardInterrupt
        return replay(path, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr("stabilitykit.afterwards.replay.replay", interrupted)
    ended = stabilitykit("diagnose", *map(str, paths))
    assert ended.status == 130
    assert "a.csv" in ended.out


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Does one thing after the other between looks at growing logs, then presses Ctrl-C."""

    def plan(*steps: Callable[[], object]) -> None:
        waiting = list(steps)

        def sleep(_: float) -> None:
            if not waiting:
                raise KeyboardInterrupt
            waiting.pop(0)()

        monkeypatch.setattr(time, "sleep", sleep)

    return plan


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_following_tells_incidents_at_once_and_ends_with_the_verdict(tmp_path: Path, stabilitykit, between):
    path = log(tmp_path / "log.csv", steps=60)
    between(
        lambda: append(path, row(60, 8.0) + row(61)),
        lambda: append(path, "".join(map(row, range(62, 100)))),
    )
    ended = stabilitykit("diagnose", str(path), "--follow")
    assert ended.status == 130
    opened, closed, _, verdict, *_ = ended.out.splitlines()
    assert opened.startswith("step       60  loss_spike opened  train/loss  loss 10.")
    assert "  loss_spike closed  train/loss  steps 60 to 60" in closed
    assert verdict.startswith("recovered (interrupted)  the loss came back after loss_spike at step 60")
    assert ended.err == f"following {path} (Ctrl-C ends with the verdict)\n"


def test_a_log_that_is_emptied_while_followed(tmp_path: Path, stabilitykit, between):
    path = log(tmp_path / "log.csv", steps=60)
    between(lambda: path.write_text(""))
    ended = stabilitykit("diagnose", str(path), "--follow")
    assert (ended.status, ended.out) == (1, "")
    assert "it was replaced, cut or written anew; judged anew from its beginning" in ended.err
    assert f"error: {path}: empty" in ended.err


def test_following_prints_one_document(tmp_path: Path, stabilitykit, between):
    paths = log(tmp_path / "a.csv", spike=60), log(tmp_path / "b.csv")
    (tmp_path / "notes.txt").write_text("nothing\n")
    between(lambda: append(paths[1], "".join(map(row, range(80, 90)))))
    ended = stabilitykit("diagnose", str(tmp_path), "--follow", "--json")
    document = json.loads(ended.out)
    assert ended.status == 130
    assert [(run["path"], run["steps"]) for run in document["runs"]] == [
        (str(paths[0]), 80),
        (str(paths[1]), 90),
    ]
    assert (document["verdict"], document["complete"]) == ("recovered", False)
    assert document["passed_over"] == [str(tmp_path / "notes.txt")]
    assert "loss_spike opened" in ended.err


def test_following_a_run_ends_when_it_does(tmp_path: Path, stabilitykit, between):
    from stabilitykit.records import StepRecord

    writer = RunWriter(tmp_path / "run", {})
    for step in range(30):
        writer.record(StepRecord.of(step, {"train/loss": 2.0 + 0.01 * math.sin(step * step)}))

    def finish() -> None:
        writer.verdict({"verdict": "stable", "complete": True})
        writer.close()

    between(finish)
    ended = stabilitykit("diagnose", str(tmp_path / "run"), "--follow")
    assert ended.status == 0
    assert "stable  the loss shows no incident over 30 steps" in ended.out
