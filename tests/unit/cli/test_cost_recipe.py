"""``cost --recipe``: what a recipe claims is judged, by its name or its file; what is wrong is told."""

import json
from pathlib import Path

import pytest

from stabilitykit.lab.claims.costs import read_cost_recipe
from stabilitykit.lab.cost import Peaks

RECIPE = Path(__file__).parents[3] / "recipes" / "cost_shares.yaml"
SMALL = """
question: Is double-norm dearer?
workloads:
  tiny: {compare: placement, batch: 1, set: {model.n_layers: 1, model.d_model: 16, model.seq_len: 8}}
claims:
  - {says: its norms do more, workload: tiny, measure: flops, of: "*norm", variant: double_norm,
     over: {variant: pre_norm}, band: [1, null]}
  - {says: a step ends, workload: tiny, measure: step, band: [0, 100]}
  - {says: a step takes no time, workload: tiny, measure: step, band: [null, 0]}
"""


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch):
    """Put peaks in place of this machine's."""
    monkeypatch.setattr("stabilitykit.lab.cost.peaks.measure_peaks", lambda dtype: Peaks(1e11, 1e10))


@pytest.fixture
def small(tmp_path):
    """A recipe of one small workload."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    return file


def test_the_recipe_of_the_lectures_orders_fits_its_workloads(stabilitykit):
    ended = stabilitykit("cost", "--recipe", "cost_shares", "--predict", "--json")
    assert ended.status == 0
    document = json.loads(ended.out)
    recipe = read_cost_recipe(RECIPE)
    assert document["workloads"].keys() == recipe.workloads.keys()
    assert [each["says"] for each in document["claims"]] == [each.says for each in recipe.claims]
    timed = [each.is_timed for each in recipe.claims]
    assert [each["outcome"] == "not measured" for each in document["claims"]] == timed
    lines = RECIPE.read_text("utf-8").splitlines()
    assert lines[0].startswith("question: ")
    assert lines[1] == "# stabilitykit cost --recipe recipes/cost_shares.yaml"


def test_claims_are_measured_and_a_negative_result_is_a_result(stabilitykit, small, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    ended = stabilitykit("cost", "--recipe", str(small), "--seconds", "0")
    assert ended.status == 0
    assert "measuring tiny: pre_norm; post_norm; double_norm" in " ".join(ended.err.split())
    rows = {line.split("  ")[0]: line for line in ended.out.splitlines()}
    assert "computed" in rows["its norms do more"]
    assert "holds" in rows["a step ends"]
    assert "does not hold" in rows["a step takes no time"]
    assert "3 claims: 2 holds, 1 does not hold" in ended.out


@pytest.mark.parametrize(
    "typed",
    [
        ("--arch", "pre_norm"),
        ("--hf", "config.json"),
        ("--compare", "norm"),
        ("--scale", "tiny"),
        ("--set", "model.n_layers=2"),
        ("--mode", "train"),
        ("--batch", "8"),
        ("--seq", "64"),
        ("--cache", "64"),
        ("--dtype", "float32"),
        ("--optimizer", "adamw"),
    ],
    ids=lambda typed: typed[0],
)
def test_what_a_recipe_says_itself_is_refused_even_where_it_is_the_default(stabilitykit, typed):
    ended = stabilitykit("cost", "--recipe", "cost_shares", "--predict", *typed)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {typed[0]}: cannot be given with --recipe")
    assert ended.err.count("\n") == 1


def test_values_of_a_recipe_are_taken_as_they_are(stabilitykit, small):
    """A list of YAML is a list, and not the text of one."""
    small.write_text(SMALL.replace("model.n_layers: 1", "model.n_layers: 1, model.pattern: [{span: full}]"))
    told = stabilitykit("cost", "--recipe", str(small), "--predict", "--json")
    assert told.status == 0
    (layer,) = json.loads(told.out)["workloads"]["tiny"]["config"]["pattern"]
    assert layer["span"] == "full"


def test_what_is_wrong_is_told_in_a_line(stabilitykit, small):
    unfit = small.with_name("unfit.yaml")
    unfit.write_text(SMALL.replace("compare: placement", "compare: placemnt"))
    cases = [
        (("cost_share",), "--recipe: got 'cost_share', which is no file; did you mean 'cost_shares'?"),
        ((str(small), "--batch", "2"), "--batch: cannot be given with --recipe"),
        ((str(unfit),), f"{unfit}: workloads.tiny: compare: got 'placemnt'; did you mean 'placement'"),
    ]
    for typed, words in cases:
        ended = stabilitykit("cost", "--predict", "--recipe", *typed)
        assert ended.status == 2
        assert words in " ".join(ended.err.split())
        assert ended.out == ""
