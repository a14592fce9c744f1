"""Runs as arrays, and what is read from a sweep's folder."""

import dataclasses

import numpy as np
import pytest
from made_up_runs import config, made_up

from benchmarks.alarms.folder import arms_of, read_run, read_runs
from benchmarks.alarms.runs import in_one_order
from stabilitykit.errors import DataError, RunFolderError
from stabilitykit.lab.sweep.grid import CellResult, SweepPlan, write_plan, write_result
from stabilitykit.records import StepRecord
from stabilitykit.store import RunWriter


def write(folder, records, complete=True, result=True, **fields):
    writer = RunWriter(folder, config(**fields))
    for record in records:
        writer.record(record)
    writer.verdict({"verdict": "stable", "complete": complete, "incidents": []})
    writer.close()
    if result:
        write_result(folder, CellResult("stable", "no incident", steps=len(records)))


def records(n=12):
    """Return records of three schemas: the first step lacks a tag, and every tenth has one more."""
    found = []
    for step in range(n):
        readings = {"train/loss": 3.0 - step, "grad/cosine/head": float("nan"), "optim/skipped": 0.0}
        if step == 0:
            del readings["grad/cosine/head"]
        if step % 10 == 0:
            readings["act/kurtosis/blocks.00.resid_post"] = 1.5
        found.append(StepRecord.of(step, readings))
    return found


def test_a_run_gives_the_records_that_were_written(tmp_path):
    write(tmp_path / "cell", records())
    run = read_run(tmp_path / "cell", "healthy")
    assert list(run.records()) == records()
    assert run.result["outcome"] == "stable"
    # Consecutive records share their tags, so that detectors find their columns once.
    read = list(run.records())
    assert read[1].tags is read[2].tags


def test_a_reading_that_is_nan_is_not_a_missing_one(tmp_path):
    write(tmp_path / "cell", records())
    run = read_run(tmp_path / "cell", "healthy")
    cosine = run.tags.index("grad/cosine/head")
    assert np.isnan(run.values[:, cosine]).all()
    assert run.missing[:, cosine].tolist() == [True] + [False] * 11
    kurtosis = run.tags.index("act/kurtosis/blocks.00.resid_post")
    assert np.flatnonzero(~run.missing[:, kurtosis]).tolist() == [0, 10]


def test_columns_and_rows():
    run = made_up(0, n=30, wild=False)
    assert run.rows("act/rms", ("resid_post",)).shape == (30, 2)
    assert run.rows("act/rms", ("resid_post", "mlp_out")).shape == (30, 4)
    assert run.rows("grad/norm").shape == (30, 4)
    assert run.rows("grad/norm", blocks=True).shape == (30, 2)
    assert run.rows("no/such").shape == (30, 0)
    assert run.rows("attn/entropy").shape == (30, 2), "attn/entropy_min is another family"
    assert np.array_equal(run.column("optim/lr"), run.rows("optim/lr")[:, 0])
    with pytest.raises(DataError, match=r"train/los.*train/loss"):
        run.column("train/los")


def test_the_loss_is_without_the_z_loss_where_that_is_known():
    run = made_up(0, n=10, wild=False)
    assert np.array_equal(run.loss, run.column("train/cross_entropy"))
    missing = run.missing.copy()
    missing[3, run.tags.index("train/cross_entropy")] = True
    assert dataclasses.replace(run, missing=missing).loss[3] == run.column("train/loss")[3]


def test_families_are_what_differs_by_rate_warmup_and_seed_alone():
    run = made_up(0)
    other = dataclasses.replace(
        run, config=config(seed=7, lr=0.1, warmup=24, environment={"torch": "2.14.0"})
    )
    assert run.family == other.family
    assert run.setting != other.setting
    assert run.setting == dataclasses.replace(run, config=config(seed=7)).setting
    wider = config(data={"kind": "text", "batch_size": 8})
    assert run.family != dataclasses.replace(run, config=wider).family
    assert (other.seed, other.lr, other.warmup, other.corpus) == (7, 0.1, 24, "made-up")


def test_tags_of_different_steps_are_put_into_one_order():
    schemas = [("a", "c", "e"), ("b", "c", "d"), ("a", "b", "d", "f")]
    order = in_one_order(schemas)
    assert sorted(order) == list("abcdef")
    for schema in schemas:
        places = [order.index(tag) for tag in schema]
        assert places == sorted(places)
    with pytest.raises(DataError, match="order varies"):
        in_one_order([("a", "b"), ("b", "a")])


def plan(name, lrs):
    return SweepPlan(name=name, fields={"arch": "pre_norm", "trainer": {"steps": 12}}, seeds=(0,)).with_axes(
        {"optimizer.lr": lrs}
    )


@pytest.fixture
def sweep(tmp_path):
    """A folder of two plans that share a cell; returns it, and the cells' names by rate."""
    plans = [plan("alarms_healthy", [1e-3, 3e-3]), plan("alarms_boundary", [3e-3, 1e-2, 3e-2, 0.1])]
    for each in plans:
        write_plan(tmp_path, each)
    return tmp_path, {cell.spec.optimizer.lr: cell.key for each in plans for cell in each.cells()}


def test_runs_that_have_not_ended_are_told(sweep):
    folder, cells = sweep
    write(folder / cells[1e-3], records())
    write(folder / cells[3e-3], records())
    write(folder / cells[1e-2], records(), result=False)
    write(folder / cells[3e-2], records(), complete=False)
    write(folder / "pre_norm-of_no_plan", records())
    found = read_runs(folder)
    assert {run.name: run.arm for run in found.runs} == {cells[1e-3]: "healthy", cells[3e-3]: "boundary"}
    assert found.left_out == {
        cells[1e-2]: "has not ended",
        cells[3e-2]: "was interrupted",
        cells[0.1]: "was not run",
        "pre_norm-of_no_plan": "no plan asks for it",
    }


def test_crashed_runs_are_told_with_their_error(sweep):
    folder, cells = sweep
    write_result(folder / cells[1e-3], CellResult("crashed", "ValueError: no"))
    assert read_runs(folder).left_out[cells[1e-3]] == "crashed: ValueError: no"


def test_a_cell_is_of_the_first_arm_that_asks_for_it(sweep):
    folder, cells = sweep
    assert arms_of(folder)[cells[3e-3]] == "boundary"
    assert arms_of(folder)[cells[1e-3]] == "healthy"


def test_arms_may_be_given(sweep):
    folder, cells = sweep
    write(folder / cells[1e-3], records())
    found = read_runs(folder, arm_of=lambda name: "mine" if name == cells[1e-3] else None)
    assert [(run.name, run.arm) for run in found.runs] == [(cells[1e-3], "mine")]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder"):
        read_runs(tmp_path / "none")


def test_a_run_cut_short_holds_its_first_steps():
    run = made_up(1, n=40)
    cut = run.until(15)
    assert list(cut.records()) == list(run.records())[:15]
