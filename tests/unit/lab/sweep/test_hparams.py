"""A sweep's cells in TensorBoard's HPARAMS tab."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

from stabilitykit.afterwards.replay import replay
from stabilitykit.errors import RunFolderError
from stabilitykit.lab.sweep.grid import CellResult, SweepPlan, open_sweep, write_plan, write_result
from stabilitykit.lab.sweep.hparam_events import write_hparam_columns, write_hparams
from stabilitykit.lab.sweep.hparams import METRICS, write_cell_hparams, write_sweep_hparams
from stabilitykit.records import StepRecord
from stabilitykit.store import RunWriter, TensorBoardWriter, find_logs

PLAN = SweepPlan(fields={"trainer": {"steps": 20}}, seeds=(0,)).with_axes(
    {"arch": "post_norm", "optimizer.lr": [0.001, 0.01]}
)


def hparams_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what TensorBoard itself reads: run to hparams, metrics and status."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    found: dict[str, dict[str, Any]] = {}
    for run, tags in multiplexer.PluginRunToTagToContent("hparams").items():
        if metadata.SESSION_START_INFO_TAG not in tags:
            continue
        start = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
        end = metadata.parse_session_end_info_plugin_data(tags[metadata.SESSION_END_INFO_TAG])
        values = {name: getattr(each, each.WhichOneof("kind")) for name, each in start.hparams.items()}
        scalars = multiplexer.PluginRunToTagToContent("scalars").get(run, {})
        metrics = {tag: multiplexer.Tensors(run, tag)[-1].tensor_proto.float_val[0] for tag in scalars}
        found[run] = {"group": start.group_name, "hparams": values, "metrics": metrics, "status": end.status}
    return found


def columns_of(folder: Path) -> Any:
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    content = multiplexer.PluginRunToTagToContent("hparams")["."][metadata.EXPERIMENT_TAG]
    return metadata.parse_experiment_plugin_data(content)


def a_run(folder: Path, loss: float = 3.0) -> Path:
    """Write a run's folder as a probe leaves it."""
    writer, board = RunWriter(folder, {"arch": "post_norm"}), TensorBoardWriter(folder)
    for step in range(20):
        record = StepRecord(step, ("train/loss",), np.array([loss - step / 100], np.float32))
        writer.record(record)
        board.record(record, force=True)
    writer.verdict({"verdict": "stable", "complete": True})
    writer.close()
    board.close("**stable**")
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Write a sweep of two cells that have ended, one of them badly."""
    file = write_plan(tmp_path, PLAN)
    ends = [CellResult("stable", "", 5.5, 2.5, 2.4), CellResult("diverged", "", 5.5, None, 3.0)]
    for run, end in zip(open_sweep(file).runs, ends, strict=True):
        a_run(run.folder)
        write_result(run.folder, end)
    for run in open_sweep(file).runs:
        write_cell_hparams(run)
    write_sweep_hparams(tmp_path)
    return tmp_path


def test_tensorboard_has_a_row_a_cell(sweep: Path):
    found = hparams_of(sweep)
    stable, diverged = open_sweep(sweep / "sweep.sweep.json").runs
    assert set(found) == {stable.cell.key, diverged.cell.key}
    row = found[stable.cell.key]
    assert row["group"] == stable.cell.key
    assert row["hparams"] == {"arch": "post_norm", "optimizer.lr": 0.001, "seed": 0}
    shown = {tag: value for tag, value in row["metrics"].items() if tag.startswith("hparam/")}
    assert shown == pytest.approx(
        {"hparam/final_loss": 2.5, "hparam/best_loss": 2.4, "hparam/verdict": 0, "hparam/incidents": 0}
    )
    assert found[diverged.cell.key]["metrics"]["hparam/verdict"] == 3
    # Its final loss is not a number: the first loss stands for it.
    assert found[diverged.cell.key]["metrics"]["hparam/final_loss"] == 5.5


def test_the_columns_are_the_axes_and_four_metrics_and_nothing_else(sweep: Path):
    experiment = columns_of(sweep)
    assert [info.name for info in experiment.hparam_infos] == ["arch", "optimizer.lr", "seed"]
    assert [info.differs for info in experiment.hparam_infos] == [False, True, False]
    rate = experiment.hparam_infos[1].domain_interval
    assert (rate.min_value, rate.max_value) == (0.001, 0.01)
    assert list(experiment.hparam_infos[0].domain_discrete) == ["post_norm"]
    assert [info.display_name for info in experiment.metric_infos] == list(METRICS)


def test_a_cell_that_two_sweeps_share_stays_one_row_with_the_values_of_both(sweep: Path):
    other = SweepPlan("other", {"trainer": {"steps": 20}}, seeds=(0,)).with_axes(
        {"arch": "post_norm", "optimizer.lr": [0.01], "trainer.clip": [1.0]}
    )
    (run,) = open_sweep(write_plan(sweep, other)).runs
    write_cell_hparams(run)
    write_sweep_hparams(sweep)
    found = hparams_of(sweep)
    assert len(found) == 2
    assert found[run.cell.key]["hparams"] == {
        "arch": "post_norm",
        "optimizer.lr": 0.01,
        "trainer.clip": 1.0,
        "seed": 0,
    }
    names = [info.name for info in columns_of(sweep).hparam_infos]
    assert sorted(names) == ["arch", "optimizer.lr", "seed", "trainer.clip"]
    assert len(list(run.folder.glob("*.hparams"))) == 1
    assert len(list(sweep.glob("*.hparams"))) == 1


def test_what_is_written_again_unchanged_leaves_the_files_alone(sweep: Path):
    before = {file: file.stat().st_mtime_ns for file in sweep.rglob("*.hparams")}
    for run in open_sweep(sweep / "sweep.sweep.json").runs:
        write_cell_hparams(run)
    write_sweep_hparams(sweep)
    assert {file: file.stat().st_mtime_ns for file in sweep.rglob("*.hparams")} == before
    assert len(before) == 3


def test_values_of_every_sort_are_taken(tmp_path: Path):
    given = {"word": "a", "on": True, "whole": 3, "none": None, "list": [1, 2], "much": math.inf}
    write_hparams(tmp_path / "run", given, {"loss": math.nan, "other": None, "third": 1}, failed=True)
    (row,) = hparams_of(tmp_path).values()
    assert row["hparams"] == {
        "word": "a",
        "on": True,
        "whole": 3,
        "none": "null",
        "list": "[1, 2]",
        "much": "inf",
    }
    assert row["metrics"] == {"hparam/third": 1.0}
    assert row["status"] == 2  # STATUS_FAILURE
    write_hparam_columns(tmp_path, {"on": [True, False], "mixed": [1, "auto", None]}, {})
    on, mixed = columns_of(tmp_path).hparam_infos
    assert list(on.domain_discrete) == [True, False]
    assert list(mixed.domain_discrete) == [1.0, "auto", "null"]


def test_diagnose_says_the_same_with_it(sweep: Path, tmp_path_factory: pytest.TempPathFactory):
    plain = tmp_path_factory.mktemp("plain")
    run = a_run(plain / "run")
    before, events = replay(run), replay(run, format="tensorboard")
    write_hparams(run, {"arch": "post_norm", "optimizer.lr": 1e-2}, {"final_loss": 2.5, "train/loss": 9.0})
    write_hparam_columns(plain, {"optimizer.lr": [1e-2]}, {"final_loss": ""})
    for now, then in ((replay(run), before), (replay(run, format="tensorboard"), events)):
        assert (now.verdict, now.source, now.notes) == (then.verdict, then.source, then.notes)
    found = find_logs(sweep)
    cells = [run.folder for run in open_sweep(sweep / "sweep.sweep.json").runs]
    assert (found.sure, found.likely) == (sorted(cells), [])


def test_a_disk_that_refuses_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="run: cannot write for TensorBoard"):
        write_hparams(tmp_path / "file" / "run", {"arch": "x"}, {})
