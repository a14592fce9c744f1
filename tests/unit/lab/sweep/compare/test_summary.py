"""What a grid of learning rates says, with numbers that can be worked out by hand."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stabilitykit.lab.claims import comparison_json
from stabilitykit.lab.sweep.compare import (
    Results,
    Summary,
    differences,
    summarise,
    warmup_needed,
)
from stabilitykit.lab.sweep.grid import CellResult, Sweep, SweepRun, is_stable

from ...conftest import MakeSweep, brief, ended

LRS = {"optimizer.lr": [0.001, 0.01, 0.1, 1.0]}


def only(sweep: Sweep) -> Summary:
    (summary,) = summarise(sweep)
    return summary


def by_lr(losses: Mapping[float, float | None], **more: Any) -> Any:
    return lambda values, seed: ended(losses[values["optimizer.lr"]], **more)


def test_lr_sensitivity_is_the_mean_of_what_each_rate_loses(made_sweep: MakeSweep) -> None:
    # min(loss, l0 = 5): 3, 2, 4, 5 (it ended at 9). Less the best, 2: 1, 0, 2, 3. Mean 6 / 4.
    found = only(made_sweep(LRS, by_lr({0.001: 3.0, 0.01: 2.0, 0.1: 4.0, 1.0: 9.0})))
    assert found.lr_sensitivity.value == 1.5
    assert (found.lr_sensitivity.low, found.lr_sensitivity.high, found.lr_sensitivity.n) == (1.5, 1.5, 3)
    assert found.lrs == (0.001, 0.01, 0.1, 1.0)
    assert (found.best_lr, found.best_loss.value) == (0.01, 2.0)


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf])
def test_a_loss_that_is_no_number_counts_as_that_at_initialization(
    made_sweep: MakeSweep, nothing: float | None
) -> None:
    found = only(made_sweep(LRS, by_lr({0.001: 3.0, 0.01: 2.0, 0.1: 4.0, 1.0: nothing})))
    assert found.lr_sensitivity.value == 1.5


def test_a_crash_before_the_first_loss_counts_with_that_of_the_same_weights(made_sweep: MakeSweep) -> None:
    def ending(values: Mapping[str, Any], seed: int) -> CellResult:
        if values["optimizer.lr"] == 1.0:
            return CellResult("crashed", "out of memory")
        return ended({0.001: 3.0, 0.01: 2.0, 0.1: 4.0}[values["optimizer.lr"]], first=5.0 + seed)

    found = only(made_sweep(LRS, ending))
    # Seeds 0, 1, 2 have l0 = 5, 6, 7: (1 + 0 + 2 + l0 - 2) / 4 = 1.5, 1.75, 2.
    assert found.lr_sensitivity.value == pytest.approx(1.75)
    assert found.failure_rate[1.0].value == 1.0


def test_a_crash_later_on_counts_with_the_first_loss_too(made_sweep: MakeSweep) -> None:
    sweep = made_sweep({"schedule.warmup": [0]}, lambda values, seed: ended(2.0, outcome="crashed"))
    assert Results(sweep).loss(sweep.runs[0]) == 5.0
    assert Results(sweep).best(sweep.runs[0]) is None


def test_the_best_rate_is_one_that_most_seeds_have(made_sweep: MakeSweep) -> None:
    def ending(values: Mapping[str, Any], seed: int) -> CellResult | None:
        lr = values["optimizer.lr"]
        return None if seed and lr == 0.1 else ended({0.001: 3.0, 0.01: 2.0, 0.1: 1.0, 1.0: 4.0}[lr])

    found = only(made_sweep(LRS, ending))
    assert (found.best_lr, found.best_loss.value, found.best_loss.n) == (0.01, 2.0, 3)


def test_rates_of_a_bisection_move_the_frontier_and_no_sensitivity(made_sweep: MakeSweep) -> None:
    whole = made_sweep(LRS, by_lr({0.001: 3.0, 0.01: 2.9, 0.1: 2.8, 1.0: 4.0}))
    extra = [
        SweepRun(whole.plan.cell({"optimizer.lr": 0.3}, seed), whole.folder, ended(3.1)) for seed in range(3)
    ]
    found = only(Sweep(whole.plan, whole.folder, (*whole.runs, *extra)))
    assert found.stable_lr_max.value == pytest.approx(0.3)
    assert found.stable_lr_max.high == pytest.approx(1.0)
    assert found.lr_sensitivity == only(whole).lr_sensitivity
    assert list(found.failure_rate) == [0.001, 0.01, 0.1, 0.3, 1.0]


def test_a_seed_without_the_whole_grid_says_nothing_of_sensitivity(made_sweep: MakeSweep) -> None:
    whole = by_lr({0.001: 3.0, 0.01: 2.0, 0.1: 4.0, 1.0: 5.0})
    sweep = made_sweep(
        LRS, lambda values, seed: None if seed and values["optimizer.lr"] == 0.1 else whole(values, seed)
    )
    found = only(sweep)
    assert (found.lr_sensitivity.value, found.lr_sensitivity.n, found.lr_sensitivity.low) == (1.5, 1, None)
    assert found.failure_rate[0.1].n == 1
    # Of what has ended, the best is a rate that all seeds have.
    assert (found.best_lr, found.best_loss.n) == (0.01, 3)


def test_a_rate_that_is_stable_above_a_hole_does_not_count(made_sweep: MakeSweep) -> None:
    # Best 2.0; 2.6 at 0.01 is more than half a nat above; 2.1 at 0.1 is fine, but above the hole.
    found = only(made_sweep(LRS, by_lr({0.001: 2.2, 0.01: 2.6, 0.1: 2.1, 1.0: 2.0})))
    assert found.stable_lr_max.value == pytest.approx(0.001)
    assert (found.stable_lr_max.low, found.stable_lr_max.high) == (
        pytest.approx(0.001),
        pytest.approx(0.01),
    )
    assert not found.stable_lr_max.censored
    assert [rate.value for rate in found.failure_rate.values()] == [0, 1, 0, 0]
    assert found.failed.value == 0.25


def test_rates_too_low_to_learn_much_are_no_failure_of_stability(made_sweep: MakeSweep) -> None:
    slow = only(made_sweep(LRS, by_lr({0.001: 4.0, 0.01: 2.6, 0.1: 2.0, 1.0: 5.0})))
    assert (slow.stable_lr_max.value, slow.stable_lr_max.high) == (pytest.approx(0.1), pytest.approx(1.0))
    nothing = only(made_sweep(LRS, by_lr({0.001: 4.0, 0.01: 3.6, 0.1: 3.0, 1.0: 2.0}))).stable_lr_max
    assert (nothing.value, nothing.censored) == (pytest.approx(1.0), True)


def test_a_bisection_is_as_sensitive_as_the_rates_at_which_it_begins(made_sweep: MakeSweep) -> None:
    losses = {0.001: 3.0, 0.003162: 2.2, 0.01: 2.0, 0.03162: 3.0, 0.1: 4.0, 0.3162: 4.0, 1.0: 5.0}
    whole = made_sweep({"optimizer.lr": "1e-3:1:7"}, by_lr(losses))
    halved = replace(whole.plan.with_axes({"optimizer.lr": "1e-3:1:2"}), bisect="optimizer.lr")
    found = only(Sweep(halved, whole.folder, whole.runs))
    assert found.lrs == tuple(losses)
    assert found.lr_sensitivity == only(whole).lr_sensitivity


def test_a_grid_without_a_failure_bounds_nothing_from_above(made_sweep: MakeSweep) -> None:
    found = only(made_sweep(LRS, by_lr(dict.fromkeys(LRS["optimizer.lr"], 2.0)))).stable_lr_max
    assert (found.value, found.high, found.censored) == (pytest.approx(1.0), None, True)


def test_a_grid_of_failures_bounds_nothing_from_below(made_sweep: MakeSweep) -> None:
    every = by_lr(dict.fromkeys(LRS["optimizer.lr"], 2.0), outcome="diverged")
    found = only(made_sweep(LRS, every)).stable_lr_max
    assert (found.value, found.low, found.censored) == (pytest.approx(0.0001), None, False)
    assert found.high == pytest.approx(0.001)


def test_a_frontier_is_not_told_where_a_lower_rate_has_not_ended(made_sweep: MakeSweep) -> None:
    def ending(values: Mapping[str, Any], seed: int) -> CellResult | None:
        lr = values["optimizer.lr"]
        waits = {0: (), 1: (0.01,), 2: (1.0,)}[seed]
        return None if lr in waits else ended(2.0 if lr < 0.1 else 3.0)

    # Seed 1 waits below its failure; seed 2 above it, where nothing more is needed.
    assert only(made_sweep(LRS, ending)).stable_lr_max.n == 2


@pytest.mark.parametrize(
    ("outcome", "final", "stable"),
    [
        ("stable", 2.5, True),
        ("recovered", 2.0, True),
        ("stable", 2.51, False),
        ("stuck", 2.0, False),
        ("diverged", 2.0, False),
        ("crashed", 2.0, False),
        ("stable", None, False),
        ("stable", math.nan, False),
    ],
)
def test_stable_is_a_verdict_and_a_loss_near_the_best(
    made_sweep: MakeSweep, outcome: str, final: float | None, stable: bool
) -> None:
    sweep = made_sweep({"schedule.warmup": [0]}, lambda values, seed: ended(final, outcome=outcome), seeds=1)
    (run,) = sweep.runs
    assert run.result is not None
    assert is_stable(run.result, 2.0) is stable
    assert not is_stable(run.result, None)


def test_the_best_is_of_an_architecture_over_its_warmups_and_rates(made_sweep: MakeSweep) -> None:
    losses = {("a", 0): 4.0, ("a", 24): 2.0, ("b", 0): 6.0, ("b", 24): 6.3}
    axes = {"gate": {"a": {}, "b": {"trainer.clip": None}}, "schedule.warmup": [0, 24]}
    sweep = made_sweep(axes, lambda values, seed: ended(losses[values["gate"], values["schedule.warmup"]]))
    results = Results(sweep)
    assert {results.best(run) for run in sweep.runs if run.cell.values["gate"] == "a"} == {2.0}
    # 4.0 is far from the best of a, which had warmup; b is compared with b alone.
    assert [summary.failed.value for summary in summarise(sweep)] == [1, 0, 0, 0]


def test_one_lucky_seed_is_no_best(made_sweep: MakeSweep) -> None:
    sweep = made_sweep({"schedule.warmup": [0]}, lambda values, seed: ended((1.0, 3.0, 3.2)[seed]))
    assert Results(sweep).best(sweep.runs[0]) == 3.0


def test_without_a_grid_of_rates_its_parts_are_empty(made_sweep: MakeSweep) -> None:
    found = summarise(made_sweep({"schedule.warmup": [0, 24]}, lambda values, seed: ended(2.0 + seed)))
    assert len(found) == 2
    first = found[0]
    assert (first.lr_sensitivity.value, first.stable_lr_max.value, first.best_lr) == (None, None, None)
    assert (first.lrs, first.failure_rate) == ((), {})
    assert (first.best_loss.value, first.best_loss.n) == (3.0, 3)


def test_what_leaves_its_band_first_is_counted_over_failing_runs(made_sweep: MakeSweep) -> None:
    incidents = {
        0: (
            brief("divergence", "train/loss", 1, 2),
            brief("nonfinite", "train/loss", 1, 1),
            brief("gradient_spike", "blocks.00", 9, 9),
            brief("vanishing_gradient", "blocks.03", 4, 8),
        ),
        # A tie in the start goes to what was announced first; a tie in both counts for both.
        1: (brief("gradient_spike", "head", 4, 6), brief("vanishing_gradient", "blocks.03", 4, 5)),
        2: (
            brief("gradient_spike", "blocks.01", 4, 5),
            brief("activation_blow_up", "blocks.02.resid_post", 4, 5),
        ),
        3: (brief("stuck", "train/loss", 3, 30),),
        4: (brief("gradient_spike", "embed", 0, 1),),
    }

    def ending(values: Mapping[str, Any], seed: int) -> CellResult:
        outcome = "stable" if seed == 4 else "stuck"
        return ended(2.0, outcome=outcome, incidents=incidents[seed])

    (found,) = summarise(made_sweep({"schedule.warmup": [0]}, ending, seeds=5))
    assert found.first_sites == {
        "vanishing_gradient@blocks.03": 2,
        "activation_blow_up@blocks.02.resid_post": 1,
        "gradient_spike@blocks.01": 1,
    }


def test_the_warmup_needed_lies_between_two_of_the_grid(made_sweep: MakeSweep) -> None:
    axes = {"optimizer.lr": [0.001, 0.01, 0.1], "schedule.warmup": [0, 10, 30]}
    needed = {0.001: 0, 0.01: 30, 0.1: 99}

    def ending(values: Mapping[str, Any], seed: int) -> CellResult:
        is_enough = values["schedule.warmup"] >= needed[values["optimizer.lr"]]
        return ended(2.0, outcome="stable" if is_enough else "stuck")

    none, some, more = (found.steps for found in warmup_needed(made_sweep(axes, ending)))
    assert (none.value, none.low, none.high) == (0, 0, 0)
    assert (some.value, some.low, some.high, some.censored) == (30, 10, 30, False)
    assert (more.value, more.high, more.censored) == (30, None, True)
    assert warmup_needed(made_sweep(LRS, lambda values, seed: ended(2.0))) == ()


def test_a_difference_is_one_only_where_the_interval_says_so(made_sweep: MakeSweep) -> None:
    axes = {"gate": {"a": {}, "b": {"trainer.clip": None}}, "optimizer.lr": [0.01, 0.1]}
    # Seeds differ by nats, settings by 0.1 in every seed at 0.01.
    base = (2.0, 2.2, 2.4)

    def ending(values: Mapping[str, Any], seed: int) -> CellResult:
        worse = 0.1 + 0.01 * seed if values["gate"] == "b" else 0.0
        return ended(base[seed] + (worse if values["optimizer.lr"] == 0.01 else 1.0))

    found = {each.measure: each for each in differences(made_sweep(axes, ending))}
    assert set(found) == {"lr_sensitivity", "stable_lr_max", "best_loss"}
    loss = found["best_loss"]
    assert (loss.axis, loss.a, loss.b, loss.differs) == ("gate", "a", "b", True)
    assert loss.estimate.value == pytest.approx(-0.11)
    assert not found["stable_lr_max"].differs


def test_the_document_is_plain_data_without_what_json_has_no_word_for(made_sweep: MakeSweep) -> None:
    sweep = made_sweep(
        {**LRS, "schedule.warmup": [0, 24]},
        lambda values, seed: None if seed == 2 else ended(math.nan if values["optimizer.lr"] == 1.0 else 2.0),
        claims=({"says": "so", "measure": "final_loss", "band": [0, 3]},),
    )
    document = json.loads(json.dumps(comparison_json(sweep), allow_nan=False))
    assert set(document) == {"runs", "summary", "differences", "warmup_needed", "claims"}
    assert len(document["runs"]) == 16
    assert document["runs"][0]["outcome"] == "stable"
    assert document["summary"][0]["lr_sensitivity"]["n"] == 2
    assert document["claims"][0]["outcome"] in ("holds", "does not hold", "undecided")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=False), losses=st.lists(st.floats(0.1, 9), min_size=12, max_size=12))
def test_neither_the_order_of_runs_nor_their_workers_matter(
    made_sweep: MakeSweep, random: Any, losses: list[float]
) -> None:
    rates = LRS["optimizer.lr"]
    sweep = made_sweep(
        LRS, lambda values, seed: ended(losses[4 * seed + rates.index(values["optimizer.lr"])])
    )
    runs = [
        replace(run, result=replace(run.result, seconds=random.random()))
        for run in sweep.runs
        if run.result is not None
    ]
    random.shuffle(runs)
    assert summarise(Sweep(sweep.plan, sweep.folder, tuple(runs))) == summarise(sweep)


def test_comparing_loads_neither_torch_nor_lightning() -> None:
    code = (
        "import sys; from stabilitykit.lab.claims import comparison_json, judge; "
        "from stabilitykit.lab.sweep import differences, summarise; "
        "print({'torch', 'lightning'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"
