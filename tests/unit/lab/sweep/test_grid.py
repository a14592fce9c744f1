"""Axes, plans and cells of a sweep, and how they are kept."""

import json
from pathlib import Path

import pytest

from stabilitykit.errors import ConfigError, RunFolderError
from stabilitykit.lab.sweep.grid import (
    DEFAULT_AXES,
    CellResult,
    IncidentBrief,
    SweepPlan,
    open_sweep,
    plan_files,
    read_axis,
    read_plan,
    read_result,
    read_seeds,
    write_plan,
    write_result,
)
from stabilitykit.records import Severity


def test_a_log_range_holds_both_ends_and_rounds_between() -> None:
    assert read_axis("optimizer.lr", "1e-3:1:13").values == (
        *(0.001, 0.001778, 0.003162, 0.005623, 0.01, 0.01778, 0.03162, 0.05623),
        *(0.1, 0.1778, 0.3162, 0.5623, 1.0),
    )


@pytest.mark.parametrize("text", ["1:1e-3:5", "0:1:5", "1e-3:1:1", "a:b:c", "1e-3:inf:3", "1e-3:nan:3"])
def test_a_range_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^optimizer\.lr: got"):
        read_axis("optimizer.lr", text)


def test_a_typed_list_holds_numbers_words_and_null() -> None:
    assert read_axis("x", "1e-2, 3,true,null,head").values == (0.01, 3, True, None, "head")


@pytest.mark.parametrize("given", ["", [], "1e-2,0.01"])
def test_an_axis_needs_values_and_each_once(given: object) -> None:
    with pytest.raises(ConfigError, match=r"^x: holds"):
        read_axis("x", given)


def test_labels_set_several_fields_at_once() -> None:
    axis = read_axis("gate", {"gated": {"model.feedforward.gated": True}, "plain": {}})
    assert axis.values == ("gated", "plain")
    assert axis.settings["gated"] == {"model.feedforward.gated": True}


@pytest.mark.parametrize(("given", "seeds"), [(3, (0, 1, 2)), ("2", (0, 1)), ("4,7", (4, 7)), ([5], (5,))])
def test_seeds_are_a_count_or_a_list(given: object, seeds: tuple[int, ...]) -> None:
    assert read_seeds(given) == seeds


@pytest.mark.parametrize("given", [0, "a", "1,1", -2, "-1,2", None, [], "1.5"])
def test_other_seeds_are_refused(given: object) -> None:
    with pytest.raises(ConfigError, match=r"^seeds: got"):
        read_seeds(given)


def test_the_default_grid_has_a_cell_for_every_combination_and_seed() -> None:
    cells = SweepPlan().with_axes(DEFAULT_AXES).cells()
    assert len(cells) == 3 * 2 * 13 * 3
    assert len({cell.key for cell in cells}) == len(cells)
    assert cells[0].key.startswith("post_norm-")


def test_the_name_of_a_cell_is_that_of_what_it_trains() -> None:
    explicit = SweepPlan(fields={"arch": "pre_norm", "schedule": {"warmup": 30}}, seeds=(0,)).cells()[0]
    by_rule = SweepPlan(fields={"arch": "pre_norm"}, seeds=(0,)).cells()[0]
    other = SweepPlan(fields={"arch": "pre_norm", "schedule": {"warmup": 31}}, seeds=(0,)).cells()[0]
    assert explicit.key == by_rule.key != other.key


def test_a_refused_cell_names_its_values() -> None:
    plan = SweepPlan(fields={"arch": "pre_norm", "trainer": {"steps": 20}}).with_axes(
        {"schedule.warmup": "0,30"}
    )
    with pytest.raises(ConfigError, match=r"warmup.*\(in the cell schedule\.warmup=30\)"):
        plan.cells()


def test_a_plan_comes_back_from_its_file_with_the_same_cells(tmp_path: Path) -> None:
    plan = SweepPlan(fields={"trainer": {"steps": 40}}, about={"question": "?"}).with_axes(
        {"arch": "pre_norm,gpt2", "optimizer.lr": "1e-3:1e-1:3", "gate": {"plain": {"trainer.clip": None}}}
    )
    file = write_plan(tmp_path, plan)
    assert plan_files(tmp_path) == plan_files(file) == [file]
    sweep = open_sweep(file)
    assert [run.cell.key for run in sweep.runs] == [cell.key for cell in plan.cells()]
    assert [run.cell.values for run in sweep.runs] == [cell.values for cell in plan.cells()]
    assert sweep.done == ()


def test_a_damaged_plan_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "x.sweep.json").write_text("{")
    with pytest.raises(RunFolderError, match="damaged"):
        open_sweep(tmp_path / "x.sweep.json")
    (tmp_path / "x.sweep.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(RunFolderError, match="newer"):
        open_sweep(tmp_path / "x.sweep.json")


def test_a_recipe_is_a_probes_with_axes(tmp_path: Path) -> None:
    recipe = tmp_path / "warmup.yaml"
    recipe.write_text(
        "question: why?\ntrainer: {steps: 40}\nseeds: 2\n"
        "axes: {arch: [pre_norm, post_norm], optimizer.lr: 1e-3:1e-1:3}\n"
        "claims: [{says: so, measure: final_loss, band: [0, 3]}]\n"
    )
    plan = read_plan(recipe)
    assert plan.name == "warmup"
    assert plan.about == {"question": "why?"}
    assert len(plan.cells()) == 12
    assert plan.claims[0]["measure"] == "final_loss"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch: pre_norm", "axes: is required"),
        ("axes: {arch: [a]}\nseedz: 3", "seedz: not a known field"),
        ("axes: {optimizer.lr: 1:2}\nclaims: 3", "claims: got 3"),
    ],
)
def test_a_recipe_that_is_refused_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"r\.yaml: {message}"):
        read_plan(tmp_path / "r.yaml")


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    brief = IncidentBrief("stuck", "train/loss", 3, 9, Severity.CRITICAL)
    result = CellResult("stuck", "parked", 5.5, None, 3.1, 40, 2.5, incidents=(brief,))
    write_result(tmp_path / "cell", result)
    assert read_result(tmp_path / "cell") == result
    assert read_result(tmp_path) is None
    (tmp_path / "result.json").write_text("{}")
    assert read_result(tmp_path) is None
