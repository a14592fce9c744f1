"""What is known of kept runs without reading their readings, and removing them."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.errors import RunFolderError
from stabilitykit.records import StepRecord
from stabilitykit.store import RunWriter, TensorBoardWriter, writer_lock
from stabilitykit.store.inventory import folders_below, kept_run
from stabilitykit.store.removal import RECENT, remove_run, why_kept

VERDICT = {"verdict": "recovered", "complete": True, "steps": 3, "final_loss": 2.5, "incidents": [{}, {}]}


def begin(folder: Path) -> RunWriter:
    writer, board = RunWriter(folder, {"arch": "post_norm", "model": {}}), TensorBoardWriter(folder)
    for step in range(3):
        writer.record(StepRecord(step, ("train/loss",), np.array([1.0], np.float32)))
    writer.flush()
    board.close()
    return writer


def a_run(folder: Path, **changes: object) -> Path:
    writer = begin(folder)
    writer.verdict({**VERDICT, **changes})
    writer.close()
    return folder


def let_age(folder: Path, seconds: float = 2 * RECENT) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - seconds,) * 2)


def test_a_finished_run(tmp_path: Path):
    run = kept_run(a_run(tmp_path / "run"))
    assert (run.state, run.arch, run.steps, run.outcome) == ("finished", "post_norm", 3, "recovered")
    assert (run.final_loss, run.incidents) == (2.5, 2)
    assert run.size == sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    assert 0 <= time.time() - run.written < 60
    assert why_kept(run) is None


def test_an_interrupted_run_and_one_without_a_finite_loss(tmp_path: Path):
    run = kept_run(a_run(tmp_path / "run", complete=False, final_loss=None))
    assert (run.state, run.outcome, run.final_loss) == ("interrupted", "recovered", None)


def test_a_run_is_running_while_its_writer_lives_and_unfinished_afterwards(tmp_path: Path):
    writer = begin(tmp_path / "run")
    assert kept_run(tmp_path / "run").state == "running"
    let_age(tmp_path / "run")
    # However long a step takes.
    assert "is being written" in str(why_kept(kept_run(tmp_path / "run")))
    with pytest.raises(RunFolderError, match="is being written"):
        remove_run(tmp_path / "run")
    writer.close()
    let_age(tmp_path / "run")
    run = kept_run(tmp_path / "run")
    assert (run.state, run.outcome, run.steps, run.incidents) == ("unfinished", None, None, None)
    assert why_kept(run) is None


def test_the_lock_ends_with_the_process_however_that_ends(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from stabilitykit.store import RunWriter; "
        "writer = RunWriter(Path(sys.argv[1]), {}); print('begun', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert kept_run(tmp_path / "run").state == "running"
        process.kill()
        process.wait()
        assert kept_run(tmp_path / "run").state == "unfinished"


def test_a_run_without_a_verdict_that_was_just_written_is_kept(tmp_path: Path):
    begin(tmp_path / "run").close()
    with pytest.raises(RunFolderError, match="another machine may still run it"):
        remove_run(tmp_path / "run")
    let_age(tmp_path / "run")
    assert remove_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["{", "[]", "", "\udc80"])
def test_a_damaged_verdict_is_none(tmp_path: Path, text: str):
    run = a_run(tmp_path / "run")
    (run / "verdict.json").write_bytes(text.encode(errors="surrogateescape"))
    assert kept_run(run).state == "unfinished"


@pytest.mark.parametrize(
    ("line", "arch"),
    [("arch: 'no'", "no"), ("arch: [1", None), ("arch:", None), ("other: 1", None), ("arch: 3", "3")],
)
def test_the_architecture_is_read_from_its_line(tmp_path: Path, line: str, arch: str | None):
    (tmp_path / "config.yaml").write_text(f"schema_version: 1\n{line}\n")
    assert kept_run(tmp_path).arch == arch


def test_what_others_keep_in_a_run_stays(tmp_path: Path):
    run = a_run(tmp_path / "run")
    size = kept_run(run).size
    others = ("notes.txt", "last.ckpt", "events.out.tfevents.1700000000.host.1.0", "readings/own.arrow")
    for name in others:
        (run / name).write_text("mine")
    assert kept_run(run).size == size
    assert not remove_run(run)
    left = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    assert left == sorted(others)


def test_links_are_never_followed(tmp_path: Path):
    elsewhere = a_run(tmp_path / "elsewhere")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(elsewhere, target_is_directory=True)
    assert [folder for folder, _ in folders_below(tmp_path / "runs")] == [tmp_path / "runs"]
    with pytest.raises(RunFolderError, match="is a link"):
        remove_run(tmp_path / "runs" / "link")
    # A run whose readings lie on another disk: its own files go, those do not.
    run = a_run(tmp_path / "run")
    (run / "readings").rename(tmp_path / "disk")
    (run / "readings").symlink_to(tmp_path / "disk", target_is_directory=True)
    (run / "coverage.json").symlink_to(elsewhere / "config.yaml")
    assert not remove_run(run)
    assert sorted(path.name for path in run.iterdir()) == ["coverage.json", "readings"]
    assert list((tmp_path / "disk").glob("segment-*.arrow"))
    assert (elsewhere / "config.yaml").exists()


def test_a_removal_that_was_interrupted_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = a_run(tmp_path / "run")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "verdict.json":
            raise OSError(30, "Read-only file system")
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(RunFolderError, match=r"run: cannot be removed \(Read-only file system\)"):
            remove_run(run)
    assert (run / "config.yaml").exists()
    let_age(run)
    assert remove_run(run)


def test_folders_are_looked_for_below_but_not_inside_runs(tmp_path: Path):
    a_run(tmp_path / "a" / "run")
    (tmp_path / ".hidden" / "x").mkdir(parents=True)
    found = [str(folder.relative_to(tmp_path)) for folder, _ in folders_below(tmp_path)]
    assert found == [".", "a", "a/run"]
    with pytest.raises(RunFolderError, match="cannot be looked in"):
        list(folders_below(tmp_path / "none"))


def test_being_asked_at_the_same_moment_costs_a_writer_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "config.yaml").write_text("schema_version: 1\n")
    asking = (tmp_path / "config.yaml").open("rb")
    fcntl.flock(asking, fcntl.LOCK_EX | fcntl.LOCK_NB)
    monkeypatch.setattr(writer_lock.time, "sleep", lambda seconds: asking.close())
    lock = writer_lock.WriterLock()
    lock.hold(tmp_path)
    assert asking.closed
    assert writer_lock.is_being_written(tmp_path)
    lock.release()
    assert not writer_lock.is_being_written(tmp_path)
