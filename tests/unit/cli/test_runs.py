"""``runs``: what is listed, and what is removed only when that is said twice."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from stabilitykit.lab.sweep.grid import CellResult, SweepPlan, open_sweep, write_plan, write_result
from stabilitykit.lab.sweep.inventory import take_inventory
from stabilitykit.records import StepRecord
from stabilitykit.store import RunWriter
from stabilitykit_cli.render.runs import inventory_table
from stabilitykit_cli.render.words import age, bytes_taken

DAY = 86_400.0


def a_run(folder: Path, outcome: str | None = "stable", loss: float = 2.0, days: float = 0.0) -> Path:
    writer = RunWriter(folder, {"arch": folder.name.partition("-")[0]})
    writer.record(StepRecord(0, ("train/loss",), np.array([1.0], np.float32)))
    if outcome is not None:
        ended = {"verdict": outcome, "complete": True, "steps": 300, "final_loss": loss, "incidents": [{}]}
        writer.verdict(ended)
    writer.close()
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - days * DAY,) * 2)
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a finished run, a newer stuck one, an old killed one and a sweep; go to where they are."""
    monkeypatch.chdir(tmp_path)
    folder = Path("runs")
    a_run(folder / "pre_norm-1", days=2, loss=3.0)
    a_run(folder / "post_norm-1", "stuck", days=1)
    a_run(folder / "post_norm-2", None, days=8)
    plan = SweepPlan("lr", seeds=(0,)).with_axes({"arch": "gpt2", "optimizer.lr": [0.01, 0.1, 1.0]})
    for run in open_sweep(write_plan(folder / "lr", plan)).runs[:2]:
        a_run(run.folder, "recovered")
        write_result(run.folder, CellResult("recovered", "", 5.0, 2.0, 2.0))
    return folder


def listed(out: str) -> list[str]:
    return [line.split("\t")[0] for line in out.splitlines()]


def test_in_a_pipe_there_is_a_line_a_run_and_a_line_a_sweep(stabilitykit, runs):
    ended = stabilitykit("runs")
    assert (ended.status, ended.err) == (0, "")
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in ended.out.splitlines()}
    assert list(rows) == ["runs/post_norm-2", "runs/pre_norm-1", "runs/post_norm-1", "runs/lr/lr.sweep.json"]
    assert rows["runs/pre_norm-1"][:5] == ["pre_norm", "300", "stable", "3.00", "1"]
    assert rows["runs/pre_norm-1"][-1] == "2 d"
    assert rows["runs/post_norm-2"][:5] == ["post_norm", "-", "unfinished", "-", "-"]
    assert rows["runs/lr/lr.sweep.json"][:5] == ["sweep", "2/3 cells", "2 recovered", "-", "2"]


def test_cells_and_orders(stabilitykit, runs):
    assert len(listed(stabilitykit("runs", "--cells").out)) == 5
    by_folder = listed(stabilitykit("runs", "--cells", "--sort", "folder").out)
    assert by_folder == sorted(by_folder)
    by_loss = listed(stabilitykit("runs", "--sort", "loss").out)
    assert by_loss[:2] == ["runs/post_norm-1", "runs/pre_norm-1"]
    assert listed(stabilitykit("runs", "--sort", "size").out)[-1] == "runs/lr/lr.sweep.json"
    assert listed(stabilitykit("runs", "--older-than", "36h").out) == ["runs/post_norm-2", "runs/pre_norm-1"]
    assert listed(stabilitykit("runs", "--unfinished").out) == ["runs/post_norm-2"]
    assert listed(stabilitykit("runs", "runs/pre_norm-1", "runs/pre_norm-1").out) == ["runs/pre_norm-1"]


def test_json_has_every_cell_and_its_sweeps(stabilitykit, runs):
    document = json.loads(stabilitykit("runs", "--json").out)
    assert len(document["runs"]) == 5
    of_sweep = [run for run in document["runs"] if run["sweeps"]]
    assert [run["sweeps"] for run in of_sweep] == [["runs/lr/lr.sweep.json"]] * 2
    first = document["runs"][0]
    assert (first["folder"], first["state"], first["verdict"]) == ("runs/post_norm-2", "unfinished", None)
    (sweep,) = document["sweeps"]
    assert (sweep["done"], sweep["total"], sweep["verdicts"]) == (2, 3, {"recovered": 2})
    assert sweep["size_bytes"] == sum(run["size_bytes"] for run in of_sweep)
    cells = json.loads(stabilitykit("runs", "--json", "--cells").out)
    assert sorted(map(str, cells["runs"])) == sorted(map(str, document["runs"]))
    assert cells["sweeps"] == []


def test_listing_loads_neither_torch_nor_what_reads_readings(runs):
    code = (
        "import sys; from stabilitykit_cli.app import main; status = main(['runs']); "
        "heavy = {'torch', 'pyarrow', 'lightning', 'tensorboard'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else status)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr, ended.stdout.count("\n")) == (0, "", 4)


def test_the_table(runs):
    found = take_inventory(runs)
    console = Console(width=100, file=io.StringIO())
    console.print(inventory_table([*found.runs, *found.sweeps]))
    text = console.file.getvalue()
    assert "final loss" in text.splitlines()[0]
    assert "2/3 cells" in text
    assert "5 runs, " in text


def test_removing_is_said_first_and_done_with_yes(stabilitykit, runs):
    ended = stabilitykit("runs", "--unfinished", "--older-than", "7d", "--remove")
    assert ended.status == 0
    assert ended.out.startswith("would remove\truns/post_norm-2\t")
    assert "would be freed; --yes removes" in ended.out
    assert (runs / "post_norm-2").exists()
    ended = stabilitykit("runs", "--unfinished", "--older-than", "7d", "--remove", "--yes")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("removed\truns/post_norm-2\t")
    assert sorted(path.name for path in runs.iterdir()) == ["lr", "post_norm-1", "pre_norm-1"]
    assert stabilitykit("runs", "--unfinished", "--remove").out == "nothing to remove\n"


def test_named_runs_and_sweeps_are_removed_and_what_is_not_ours_is_said(stabilitykit, runs):
    (runs / "pre_norm-1" / "last.ckpt").write_text("mine")
    ended = stabilitykit("runs", "runs/pre_norm-1", "runs/lr", "--remove", "--yes", "--json")
    document = json.loads(ended.out)
    assert ended.status == 0
    assert [each["name"] for each in document["removed"]] == ["runs/pre_norm-1", "runs/lr/lr.sweep.json"]
    assert document["left"] == ["runs/pre_norm-1"]
    assert document["freed_bytes"] > 0
    assert sorted(path.name for path in runs.iterdir()) == ["post_norm-1", "post_norm-2", "pre_norm-1"]
    assert [path.name for path in (runs / "pre_norm-1").iterdir()] == ["last.ckpt"]


def test_a_run_that_is_being_written_is_an_error_where_it_is_named(stabilitykit, runs):
    writer = RunWriter(runs / "mine", {})
    ended = stabilitykit("runs", "runs/mine", "--remove", "--yes")
    assert (ended.status, ended.err) == (1, "error: runs/mine is being written; end that run first\n")
    assert "runs/mine\t-\t-\trunning" in stabilitykit("runs").out
    ended = stabilitykit("runs", "--older-than", "0s", "--remove", "--yes", "--json")
    assert ended.status == 0
    assert list(json.loads(ended.out)["kept"]) == ["runs/mine"]
    assert "kept: runs/mine is being written" in ended.err
    writer.close()
    assert [path.name for path in runs.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("typed", "status", "line"),
    [
        (("--remove", "--yes"), 2, "--remove: needs what to remove"),
        (("runs", "--remove", "--yes"), 2, "--remove: runs is no run and no sweep"),
        (("runs/pre_norm-1", "--yes"), 2, "--yes: needs --remove"),
        (("--older-than", "7"), 2, "--older-than: got '7'; must be a number and a unit"),
        (("--older-than", "-1d"), 2, "--older-than: got '-1d'"),
        (("nowhere",), 1, "nowhere: cannot be looked in (No such file or directory)"),
        (("runs/lr/none.sweep.json",), 1, "runs/lr/none.sweep.json: cannot be looked in"),
    ],
)
def test_what_was_typed_wrong_is_said_and_nothing_is_removed(stabilitykit, runs, typed, status, line):
    before = sorted(runs.rglob("*"))
    ended = stabilitykit("runs", *typed)
    assert (ended.status, ended.out) == (status, "")
    assert ended.err.startswith(f"error: {line}")
    assert ended.err.count("\n") == 1
    assert sorted(runs.rglob("*")) == before


def test_without_a_folder_or_a_run_that_is_said(stabilitykit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert stabilitykit("runs").err.startswith("error: runs: no such folder")
    Path("runs").mkdir()
    ended = stabilitykit("runs")
    assert (ended.status, ended.out, ended.err) == (0, "", "no runs\n")


def test_sizes_and_ages_in_short():
    assert [bytes_taken(size) for size in (0, 999, 1000, 999_400, 999_600, 2_345_000_000)] == [
        *("0 B", "999 B", "1 kB", "999 kB", "1 MB", "2.35 GB"),
    ]
    assert [age(seconds) for seconds in (-1, 59, 60, 7200, 9 * DAY)] == ["0 s", "59 s", "1 min", "2 h", "9 d"]
