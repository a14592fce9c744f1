"""What is written and removed is ours: no link is followed, no file of somebody else's touched."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.errors import RunFolderError
from stabilitykit.lab.sweep.hparam_events import write_hparam_columns
from stabilitykit.records import StepRecord
from stabilitykit.store.contents import own_files
from stabilitykit.store.disk import AppendFile, read_file, replace_file
from stabilitykit.store.removal import remove_run
from stabilitykit.store.run_folder import RunWriter

_PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "link": lambda path, victim: path.symlink_to(victim),
    "dangling link": lambda path, victim: path.symlink_to(victim.with_name("nowhere")),
    "hard link": lambda path, victim: path.hardlink_to(victim),
    "pipe": lambda path, victim: os.mkfifo(path),
}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "victim"
    file.write_text("precious")
    return file


def _run(folder: Path, steps: int = 3) -> None:
    writer = RunWriter(folder, {"arch": "mine"}, resume=folder.exists())
    for step in range(steps):
        writer.record(StepRecord(step, ("train/loss",), np.zeros(1, np.float32)))
    writer.verdict({"verdict": "stable", "complete": True})
    writer.close()


@pytest.mark.parametrize("kind", _PLANTED)
@pytest.mark.parametrize("name", ["verdict.json", "verdict.json.part"])
def test_replacing_a_file_leaves_alone_what_stood_behind_its_name(
    tmp_path: Path, victim: Path, kind: str, name: str
) -> None:
    _PLANTED[kind](tmp_path / name, victim)
    replace_file(tmp_path / "verdict.json", "{}")
    written = tmp_path / "verdict.json"
    assert stat.S_ISREG(written.lstat().st_mode)
    assert written.read_text() == "{}"
    assert victim.read_text() == "precious"
    assert {each.name for each in victim.parent.iterdir()} == {"victim"}


def test_a_folder_of_the_files_name_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(tmp_path / "verdict.json", "{}")
    assert [each.name for each in tmp_path.iterdir()] == ["verdict.json"]


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_nothing_is_appended_through_a_link_or_into_a_pipe(tmp_path: Path, victim: Path, kind: str) -> None:
    _PLANTED[kind](tmp_path / "incidents.jsonl", victim)
    with pytest.raises(OSError, match=r"incidents\.jsonl"):
        AppendFile(tmp_path / "incidents.jsonl", new=False)
    assert victim.read_text() == "precious"


def test_a_copy_by_hard_links_keeps_what_it_had(tmp_path: Path, victim: Path) -> None:
    path = tmp_path / "incidents.jsonl"
    path.hardlink_to(victim)
    file = AppendFile(path, new=False)
    file.write(b"; more")
    file.close()
    assert path.read_text() == "precious; more"
    assert victim.read_text() == "precious"


def test_reading_waits_for_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(OSError, match="pipe"):
        read_file(tmp_path / "config.yaml")


def test_readings_are_not_written_through_a_link(tmp_path: Path, victim: Path) -> None:
    _run(tmp_path / "run")
    readings = tmp_path / "run" / "readings"
    readings.rename(tmp_path / "moved")
    readings.symlink_to(victim.parent)
    with pytest.raises(RunFolderError, match="readings is a link"):
        RunWriter(tmp_path / "run", {}, resume=True)
    assert {each.name for each in victim.parent.iterdir()} == {"victim"}


_LEFT = (
    "verdict.json.0123456789abcdef.part",
    "coverage.json.part",
    "readings/segment-00001.part",
    "readings/segment-00001.arrow.part",
    "readings/segment-00001.arrow.0123456789abcdef.part",
)


def test_what_a_killed_writer_leaves_goes_with_the_next_one(tmp_path: Path) -> None:
    _run(tmp_path / "run")
    others = ("notes.part", "readings/mine.part", "verdict.json.0123.part")
    for name in (*_LEFT, *others):
        (tmp_path / "run" / name).touch()
    RunWriter(tmp_path / "run", {}, resume=True).close()
    assert not any((tmp_path / "run" / name).exists() for name in _LEFT)
    assert all((tmp_path / "run" / name).exists() for name in others)


def test_removing_a_run_knows_every_name_that_is_written(tmp_path: Path) -> None:
    _run(tmp_path / "run")
    for name in _LEFT:
        (tmp_path / "run" / name).touch()
    assert remove_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_removing_a_run_leaves_what_others_keep_there(tmp_path: Path, victim: Path) -> None:
    _run(tmp_path / "run")
    kept = {"notes.txt", "events.out.tfevents.1700000000.host.5.0", "readings", "coverage.json"}
    (tmp_path / "run" / "notes.txt").touch()
    (tmp_path / "run" / "events.out.tfevents.1700000000.host.5.0").touch()
    (tmp_path / "run" / "readings" / "segment-9.csv").touch()
    (tmp_path / "run" / "coverage.json").unlink(missing_ok=True)
    (tmp_path / "run" / "coverage.json").symlink_to(victim)
    assert not remove_run(tmp_path / "run")
    assert {each.name for each in (tmp_path / "run").iterdir()} == kept
    assert victim.exists()


def test_a_config_without_our_mark_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("lr: 1e-3\n")
    assert list(own_files(tmp_path)) == []


def test_anothers_row_of_hparams_stays(tmp_path: Path) -> None:
    anothers = tmp_path / "events.out.tfevents.1700000000.host.5.0.hparams"
    anothers.touch()
    for values in ([1, 2], [1, 2, 3]):
        write_hparam_columns(tmp_path, {"lr": values}, {"loss": "the last"})
    assert anothers.exists()
    assert len(list(tmp_path.iterdir())) == 2
