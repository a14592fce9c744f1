"""The recipes that answer a question can be read, planned and afforded."""

from pathlib import Path

import pytest
import yaml

from stabilitykit.lab.claims import check_claims
from stabilitykit.lab.sweep import SweepPlan, read_plan

FOLDER = Path(__file__).parents[4] / "recipes"
SWEEPS = [path for path in sorted(FOLDER.glob("*.yaml")) if "axes" in yaml.safe_load(path.read_text("utf-8"))]
ALARMS = [path for path in SWEEPS if path.stem.startswith("alarms_")]
RECIPES = [path for path in SWEEPS if path not in ALARMS]
MOST_CPU_MINUTES = 180


@pytest.fixture(scope="module")
def plans() -> dict[str, SweepPlan]:
    return {path.stem: read_plan(path) for path in RECIPES}


def test_there_are_the_recipes_of_the_lectures_claims(plans: dict[str, SweepPlan]) -> None:
    assert len(plans) == 15
    assert sum(len(plan.claims) for plan in plans.values()) >= 60


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_opens_with_question_command_time_source_and_band(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[0].startswith("question: ")
    assert lines[0].endswith("?")
    assert lines[1] == f"# stabilitykit sweep recipes/{path.name}"
    plan = read_plan(path)
    assert set(plan.about) == {"question", "source", "band", "cpu_minutes"}
    assert 0 < plan.about["cpu_minutes"] < 60
    assert len(plan.seeds) >= 3


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipes_claims_fit_its_cells(path: Path) -> None:
    plan = read_plan(path)
    assert len(check_claims(plan)) == len(plan.claims) >= 2


def test_all_recipes_together_stay_far_below_three_hours(plans: dict[str, SweepPlan]) -> None:
    assert sum(plan.about["cpu_minutes"] for plan in plans.values()) < MOST_CPU_MINUTES


@pytest.mark.parametrize("path", ALARMS, ids=lambda path: path.stem)
def test_a_recipe_of_the_benchmark_of_alarms_names_its_question_and_each_run_once(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[0].startswith("question: ")
    assert lines[1] == f"# stabilitykit sweep recipes/{path.name}"
    (axis,) = read_plan(path).axes
    assert len({str(fields) for fields in axis.settings.values()}) == len(axis.values)


@pytest.mark.slow
def test_every_cell_is_accepted_and_most_are_shared(plans: dict[str, SweepPlan]) -> None:
    cells = {name: [cell.key for cell in plan.cells()] for name, plan in plans.items()}
    assert all(len(set(keys)) == len(keys) for keys in cells.values())
    assert set(cells["early_signs"]) <= set(cells["warmup"])
    assert set(cells["massive_activations"]) <= set(cells["norm_placement"])
    assert len(set(cells["qk_norm"]) - set(cells["norm_placement"])) == 21
    assert len({key for keys in cells.values() for key in keys}) < 500
