"""Kept sweeps: their cells, what is shared, and removing them."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.errors import RunFolderError
from stabilitykit.lab.sweep.grid import CellResult, SweepPlan, open_sweep, write_plan, write_result
from stabilitykit.lab.sweep.hparams import write_cell_hparams, write_sweep_hparams
from stabilitykit.lab.sweep.inventory import older_than, removals, remove, take_inventory
from stabilitykit.records import StepRecord
from stabilitykit.store import RunWriter

RATES = [0.001, 0.01, 0.1]


def a_plan(name: str, rates: list[float]) -> SweepPlan:
    return SweepPlan(name, seeds=(0,)).with_axes({"arch": "post_norm", "optimizer.lr": rates})


def a_run(folder: Path, verdict: bool = True) -> Path:
    writer = RunWriter(folder, {"arch": "post_norm"})
    writer.record(StepRecord(0, ("train/loss",), np.array([1.0], np.float32)))
    if verdict:
        writer.verdict({"verdict": "stable", "complete": True, "steps": 1, "incidents": [{}]})
    writer.close()
    return folder


def a_sweep(file: Path, done: int = 2, failed: bool = False) -> Path:
    """Write the first cells of a plan, the last of them one that crashed before it had a config."""
    runs = open_sweep(file).runs[:done]
    for run in runs:
        if run.result is None:
            a_run(run.folder)
            write_result(run.folder, CellResult("stable", "", 5.0, 2.0, 2.0, steps=1))
            write_cell_hparams(next(each for each in open_sweep(file).runs if each.folder == run.folder))
    if failed:
        write_result(open_sweep(file).runs[done].folder, CellResult("crashed", "no memory"))
    write_sweep_hparams(file.parent)
    return file


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_sweep_is_one_with_its_cells(tmp_path: Path):
    file = a_sweep(write_plan(tmp_path / "lr", a_plan("lr", RATES)), 1, failed=True)
    alone = a_run(tmp_path / "alone-1")
    found = take_inventory(tmp_path)
    assert [run.folder for run in found.runs] == [alone]
    (sweep,) = found.sweeps
    assert (sweep.name, sweep.file, sweep.done, sweep.total) == ("lr", file, 2, 3)
    assert sweep.outcomes == {"stable": 1, "crashed": 1}
    assert (sweep.state, sweep.incidents) == ("unfinished", 1)
    crashed = sweep.runs[1]
    assert (crashed.state, crashed.outcome, crashed.arch) == ("finished", "crashed", "post_norm")
    assert sweep.size == sum(run.size for run in sweep.runs) > 0
    (by_plan,) = take_inventory(file).sweeps
    assert [run.folder for run in by_plan.runs] == [run.folder for run in sweep.runs]


def test_removing_looks_first_and_then_removes_all_of_a_sweep(tmp_path: Path):
    file = a_sweep(write_plan(tmp_path / "lr", a_plan("lr", RATES)), 1, failed=True)
    # An earlier plan's cell, and something that is not ours.
    a_run(tmp_path / "lr" / "pre_norm-0123456789ab")
    (tmp_path / "lr" / "notes.txt").write_text("mine")
    before = files(tmp_path)
    (removal,) = removals(take_inventory(file.parent).sweeps)
    assert files(tmp_path) == before
    assert (removal.refused, len(removal.runs)) == (None, 3)
    assert not remove(removal)
    assert files(tmp_path) == ["lr/notes.txt"]
    assert [path.name for path in (tmp_path / "lr").iterdir()] == ["notes.txt"]


def test_cells_that_another_sweep_asks_for_stay(tmp_path: Path):
    first = a_sweep(write_plan(tmp_path, a_plan("first", RATES)), 3)
    second = a_sweep(write_plan(tmp_path, a_plan("second", [0.1, 1.0])), 2)
    (removal,) = removals(take_inventory(first).sweeps)
    assert len(removal.runs) == 2
    assert not remove(removal)
    (left,) = take_inventory(tmp_path).sweeps
    assert (left.file, left.done, left.total) == (second, 2, 2)
    assert len(list(tmp_path.glob("*.hparams"))) == 1
    assert remove(removals([left])[0])
    assert not tmp_path.exists()


def test_both_sweeps_of_a_folder_take_what_they_share(tmp_path: Path):
    folder = tmp_path / "both"
    a_sweep(write_plan(folder, a_plan("first", RATES)), 3)
    a_sweep(write_plan(folder, a_plan("second", [0.1, 1.0])), 2)
    both = removals(take_inventory(folder).sweeps)
    assert sorted(len(each.runs) for each in both) == [1, 3]
    assert [remove(each) for each in both] == [False, True]
    assert not folder.exists()


def test_a_sweep_with_a_cell_that_is_being_written_stays(tmp_path: Path):
    file = a_sweep(write_plan(tmp_path, a_plan("lr", RATES)), 1)
    last = open_sweep(file).runs[-1].folder
    writer = RunWriter(last, {"arch": "post_norm"})
    (sweep,) = take_inventory(tmp_path).sweeps
    assert sweep.state == "running"
    assert removals([sweep])[0].refused == f"{last.name} is being written; end that run first"
    assert removals([sweep])[0].runs == ()
    writer.close()


def test_a_plan_that_cannot_be_read_leaves_its_cells_listed_and_others_safe(tmp_path: Path):
    file = a_sweep(write_plan(tmp_path, a_plan("lr", RATES)), 2)
    other = tmp_path / "other.sweep.json"
    other.write_text('{"schema_version": 1}')
    found = take_inventory(tmp_path)
    assert [sweep.file for sweep in found.sweeps] == [file]
    assert len(found.notes) == 1
    assert "other.sweep.json" in found.notes[0]
    assert "may share cells with a plan that cannot be read" in str(removals(found.sweeps)[0].refused)
    with pytest.raises(RunFolderError, match=r"other\.sweep\.json"):
        take_inventory(other)


def test_age_is_that_of_the_last_write_of_all_cells(tmp_path: Path):
    a_sweep(write_plan(tmp_path, a_plan("lr", RATES)), 2)
    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() - 1000,) * 2)
    (sweep,) = take_inventory(tmp_path).sweeps
    assert older_than([sweep], 900) == [sweep]
    os.utime(next(iter(sweep.runs[0].folder.glob("verdict.json"))))
    assert older_than(take_inventory(tmp_path).sweeps, 900) == []
