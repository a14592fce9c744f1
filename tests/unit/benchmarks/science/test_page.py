"""The page of reproduced claims, from a folder of results that nobody had to train."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks.science import page as written
from benchmarks.science.page import findings, keep_machine, page
from stabilitykit.lab.sweep import SweepPlan, read_plan
from stabilitykit.lab.sweep.grid import CellResult, write_result

RECIPE = """\
question: Does it work?
# stabilitykit sweep recipes/trial.yaml
cpu_minutes: 1
source: nobody
band: as below
# Tried first: nothing,
# and then some.
model: {n_layers: 1, d_model: 16, attention: {n_heads: 2}}
axes: {arch: [post_norm, pre_norm]}
seeds: 3
claims:
  - says: post-norm is worse | by much
    measure: final_loss
    where: {arch: post_norm}
    minus: {arch: pre_norm}
    band: [0.5, null]
  - says: pre-norm learns all
    measure: final_loss
    where: {arch: pre_norm}
    band: [null, 0.25]
  - says: post-norm is at 3
    measure: final_loss
    where: {arch: post_norm}
    band: [2.99, 3.05]
"""


@pytest.fixture
def plan(tmp_path: Path) -> SweepPlan:
    (tmp_path / "trial.yaml").write_text(RECIPE)
    return read_plan(tmp_path / "trial.yaml")


def finish(plan: SweepPlan, folder: Path, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    for cell in plan.cells():
        if cell.seed not in seeds:
            continue
        loss = (3.0 if cell.spec.arch == "post_norm" else 2.0) + 0.05 * cell.seed
        place = folder / cell.key
        write_result(place, CellResult("stable", "", 5.5, loss, loss, steps=300, seconds=30.0))
        environment = {"stabilitykit": "1", "torch": "2", "numpy": "3", "python": "4"}
        config = {"schema_version": 1, "environment": environment, "corpus": {"name": "a text"}}
        (place / "config.yaml").write_text(yaml.safe_dump(config))


def test_a_finished_folder_gives_the_page_without_training(plan: SweepPlan, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    keep_machine(folder, "a processor")
    keep_machine(folder, "a processor")
    finish(plan, folder)
    text = page([findings(plan, folder)], folder, tmp_path)
    assert "6 runs, 3 minutes of one core in all, on a processor, one thread each." in text
    assert "stabilitykit 1, torch 2, numpy 3, python 4. Text: a text." in text
    assert "| [trial](#trial) | Does it work? | 1 | 1 | 1 | 3.0 |" in text
    assert "| holds | post-norm is worse \\| by much | 1 [1, 1] nats | ≥ 0.5 | 3 |" in text
    assert "*pre-norm learns all* does not hold: 2.05 [1.93, 2.17] nats, band ≤ 0.25." in text
    assert "| undecided | post-norm is at 3 | 3.05 [2.93, 3.17] nats | 2.99 to 3.05 | 3 |" in text
    assert "Tried first: nothing, and then some." in text
    assert "stabilitykit sweep recipes/trial.yaml" in text
    assert "have not ended" not in text


def test_an_unfinished_folder_is_said_to_be_one(plan: SweepPlan, tmp_path: Path) -> None:
    finish(plan, tmp_path / "runs", seeds=(0,))
    text = page([findings(plan, tmp_path / "runs")], tmp_path / "runs", tmp_path)
    assert "(4 of 6 runs have not ended)" in text
    assert "2 of 3 seeds left out, not all of their runs have ended" in text


def test_machines_are_noted_once_each(tmp_path: Path) -> None:
    for cpu in ("one", "other", "one"):
        keep_machine(tmp_path, cpu)
    assert json.loads((tmp_path / "machine.json").read_text()) == ["one", "other"]
    assert written.cpu_of_this_machine()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (-0.05, "−0.05"), (12345.6, "12,346"), (3e-7, "3.0e−07"), (0.0, "0")],
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert written._number(value) == text
