"""Claims as data: what holds, what does not, what is left open, and what is refused."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stabilitykit.errors import ConfigError
from stabilitykit.lab.claims import ClaimResult, check_claims, judge
from stabilitykit.lab.sweep.grid import CellResult, Sweep, SweepPlan, SweepRun

from ..conftest import Ending, MakeSweep, brief, ended

AXES = {"gate": {"a": {}, "b": {"trainer.clip": None}}, "optimizer.lr": [0.01, 0.1]}

FIELDS = ("says", "measure", "where", "minus", "over", "with", "band")
WORDS = (
    *("gate", "optimizer.lr", "a", "b", "final_loss", "failed", "lr_sensitivity", "reading", "grad/share"),
    *("sites", "steps", "min", "first", "first/last", "below", "for", "incident", "stuck", "at", "lead"),
    *("until", "exponent", "in", "correlation", "train/loss", "window", "outcome", "between", "power"),
)


def offsets(values: Mapping[str, Any], seed: int) -> CellResult:
    """Return a loss that b makes 0.4 nat worse, and each seed by nats of its own."""
    return ended((1.0, 2.5, 2.0)[seed] + (0.4 + 0.01 * seed if values["gate"] == "b" else 0.0))


def judged(
    made_sweep: MakeSweep, claim: Mapping[str, Any], ending: Ending = offsets, **more: Any
) -> ClaimResult:
    (result,) = judge(
        made_sweep(more.pop("axes", AXES), ending, claims=({"says": "so"} | dict(claim),), **more)
    )
    return result


@pytest.mark.parametrize(
    ("band", "outcome"),
    [
        ([0.3, None], "holds"),
        ([None, 0.0], "does not hold"),
        ([0.41, None], "undecided"),
        ([0.3, 0.5], "holds"),
        ([0.6, 0.9], "does not hold"),
    ],
)
def test_a_difference_is_judged_by_its_whole_interval(
    made_sweep: MakeSweep, band: list[float | None], outcome: str
) -> None:
    claim = {"measure": "final_loss", "where": {"gate": "b"}, "minus": {"gate": "a"}, "band": band}
    found = judged(made_sweep, claim)
    assert found.outcome == outcome
    assert found.value == pytest.approx(0.41)
    # 0.40, 0.41, 0.42: s 0.01, 4.3027 · 0.01 / √3 = 0.0248.
    assert found.low == pytest.approx(0.41 - 0.0248, abs=1e-4)
    assert (found.n, found.unit, found.note, found.band) == (3, "nats", "", tuple(band))


def test_without_pairing_the_same_claim_would_be_lost(made_sweep: MakeSweep) -> None:
    alone = judged(made_sweep, {"measure": "final_loss", "where": {"gate": "b"}, "band": [1.9, None]})
    assert alone.outcome == "undecided"
    assert alone.low is not None
    assert alone.low < 1.0


def test_a_claim_without_runs_is_undecided_and_says_why(made_sweep: MakeSweep) -> None:
    claim = {"measure": "final_loss", "where": {"gate": "b"}, "band": [0, 9]}
    found = judged(made_sweep, claim, lambda values, seed: None)
    assert (found.outcome, found.value, found.n) == ("undecided", None, 0)
    assert found.note == "3 of 3 seeds left out, not all of their runs have ended"


def test_one_seed_decides_nothing(made_sweep: MakeSweep) -> None:
    found = judged(made_sweep, {"measure": "final_loss", "band": [0, 9]}, seeds=1)
    assert (found.outcome, found.n, found.note) == ("undecided", 1, "one seed has no interval")


def test_a_seed_counts_only_with_all_of_its_runs(made_sweep: MakeSweep) -> None:
    def ending(values: Mapping[str, Any], seed: int) -> CellResult | None:
        return None if seed == 1 and values["optimizer.lr"] == 0.1 else offsets(values, seed)

    claim = {"measure": "final_loss", "where": {"gate": "b"}, "minus": {"gate": "a"}, "band": [0.3, None]}
    found = judged(made_sweep, claim, ending)
    assert (found.n, found.note) == (2, "1 of 3 seeds left out, not all of their runs have ended")


def test_failures_are_shares_with_wilsons_interval(made_sweep: MakeSweep) -> None:
    def ending(values: Mapping[str, Any], seed: int) -> CellResult:
        return ended(2.0, outcome="stuck" if values["gate"] == "b" else "stable")

    every = judged(made_sweep, {"measure": "failed", "where": {"gate": "b"}, "band": [0.4, None]}, ending)
    assert (every.outcome, every.value, every.high) == ("holds", 1.0, 1.0)
    assert every.low == pytest.approx(0.4385, abs=1e-4)
    claim = {"measure": "failed", "where": {"gate": "b"}, "minus": {"gate": "a"}, "band": [0.1, None]}
    assert judged(made_sweep, claim, ending).outcome == "holds"


def test_rates_that_a_bisection_added_are_no_part_of_a_mean(made_sweep: MakeSweep) -> None:
    claim = {"says": "so", "measure": "final_loss", "where": {"gate": "a"}, "band": [0, 9]}
    sweep = made_sweep(AXES, offsets, claims=(claim,))
    cell = sweep.plan.cell({"gate": "a", "optimizer.lr": 0.03}, 0)
    extra = SweepRun(cell, sweep.folder, ended(4.9))
    assert judge(Sweep(sweep.plan, sweep.folder, (*sweep.runs, extra))) == judge(sweep)


def test_a_verdict_may_be_asked_for(made_sweep: MakeSweep) -> None:
    claim = {"measure": {"outcome": ["stuck", "crashed"]}, "where": {"gate": "b"}, "band": [0.5, None]}
    found = judged(
        made_sweep, claim, lambda values, seed: ended(2.0, outcome=("stuck", "crashed", "diverged")[seed])
    )
    assert (found.value, found.outcome) == (pytest.approx(2 / 3), "undecided")


def test_a_ratio_is_paired_and_needs_numbers_above_zero(made_sweep: MakeSweep) -> None:
    claim = {"measure": "final_loss", "where": {"gate": "b"}, "over": {"gate": "a"}, "band": [1.5, 2.5]}
    double = judged(
        made_sweep, claim, lambda values, seed: ended((1.0 + seed / 2) * (2 if values["gate"] == "b" else 1))
    )
    assert (double.outcome, double.value, double.unit) == ("holds", pytest.approx(2.0), "")
    none = judged(made_sweep, claim, lambda values, seed: ended(0.0))
    assert (none.outcome, none.note) == ("undecided", "a ratio needs numbers above 0")


def test_measures_over_rates_are_taken_inside_each_seed(made_sweep: MakeSweep) -> None:
    def ending(values: Mapping[str, Any], seed: int) -> CellResult:
        worse = {("a", 0.01): 0.0, ("a", 0.1): 0.2, ("b", 0.01): 0.0, ("b", 0.1): 1.0}
        return ended(2.0 + seed + worse[values["gate"], values["optimizer.lr"]], first=9.0)

    claim = {
        "measure": "lr_sensitivity",
        "where": {"gate": "a"},
        "over": {"gate": "b"},
        "band": [None, 0.8],
    }
    found = judged(made_sweep, claim, ending)
    assert (found.outcome, found.value) == ("holds", pytest.approx(0.2))
    best = judged(made_sweep, {"measure": "loss_at_best_lr", "where": {"gate": "b"}, "band": [0, 9]}, ending)
    assert best.value == pytest.approx(3.0)


def test_the_largest_stable_rate_of_a_grid_is_known_to_its_spacing(made_sweep: MakeSweep) -> None:
    axes = {**AXES, "optimizer.lr": [0.001, 0.01, 0.1, 1.0]}
    limits = {"a": 0.1, "b": 0.001}

    def ending(values: Mapping[str, Any], seed: int) -> CellResult:
        return ended(
            2.0, outcome="stable" if values["optimizer.lr"] <= limits[values["gate"]] else "diverged"
        )

    claim = {"measure": "stable_lr_max", "where": {"gate": "a"}, "over": {"gate": "b"}, "band": [5, None]}
    found = judged(made_sweep, claim, ending, axes=axes)
    assert (found.value, found.low, found.high) == tuple(map(pytest.approx, (100, 10, 1000)))
    assert found.outcome == "holds"
    limits["a"] = 1.0
    found = judged(made_sweep, claim, ending, axes=axes)
    assert (found.outcome, found.high) == ("holds", None)
    assert found.note == "in 3 of 3 seeds it has no upper end"
    limits["b"] = 0.0001
    found = judged(made_sweep, claim | {"where": {"gate": "b"}, "over": None}, ending, axes=axes)
    assert (found.low, found.note) == (None, "in 3 of 3 seeds it has no lower end")
    limits["b"] = 1.0
    assert judged(made_sweep, claim, ending, axes=axes).outcome == "undecided"


def test_an_exponent_is_the_slope_of_logarithms(made_sweep: MakeSweep) -> None:
    axes = {"model.n_layers": [1, 2, 4]}
    claim = {"measure": {"exponent": "final_loss", "in": "model.n_layers"}, "band": [-0.6, -0.4]}
    found = judged(
        made_sweep,
        claim,
        lambda values, seed: ended((1 + seed) * values["model.n_layers"] ** -0.5),
        axes=axes,
    )
    assert (found.outcome, found.value) == ("holds", pytest.approx(-0.5))


def test_an_incident_that_never_came_is_later_than_the_run(made_sweep: MakeSweep) -> None:
    def ending(values: Mapping[str, Any], seed: int) -> CellResult:
        stuck = brief("stuck", "train/loss", 30, 60 + seed)
        vanishing = brief("vanishing_gradient", "blocks.00", 8, 10)
        if values["gate"] == "a":
            return ended(2.0)
        return ended(2.0, incidents=(stuck, vanishing) if seed else (vanishing,))

    early = {"measure": {"incident": "vanishing_gradient"}, "where": {"gate": "b"}, "band": [None, 20]}
    assert judged(made_sweep, early, ending).outcome == "holds"
    assert judged(made_sweep, early | {"where": {"gate": "a"}}, ending).outcome == "does not hold"
    lead = {"lead": {"incident": "vanishing_gradient"}, "until": {"incident": "stuck"}}
    found = judged(made_sweep, {"measure": lead, "where": {"gate": "b"}, "band": [5, None]}, ending)
    # 230 or more where it was never stuck, else 51 and 52: three numbers that leave much open below.
    assert (found.outcome, found.high, found.unit) == ("undecided", None, "steps")
    none = judged(made_sweep, {"measure": lead, "where": {"gate": "a"}, "band": [5, None]}, ending)
    assert (none.n, none.note) == (0, "3 of 3 seeds left out, not all of their runs have the number")
    first = {"measure": "first_incident", "where": {"gate": "b"}, "band": [7, 8]}
    found = judged(made_sweep, first, ending)
    # Three equal steps are known to a step.
    assert (found.outcome, found.value, found.low, found.high) == ("holds", 8, 7, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"where": {"arch": "a"}}, r"claim 1\.where\.arch: not an axis of the sweep; accepted: gate"),
        ({"where": {"gate": "c"}}, r"claim 1\.where\.gate: got 'c'; the axis has a, b"),
        ({"minus": {"optimizer.lr": 0.02}}, r"claim 1\.minus\.optimizer\.lr: got 0\.02; the axis has 0\.01"),
        ({"where": {"gate": []}}, r"claim 1\.where\.gate: holds no value"),
        ({"measure": "final_los"}, r"claim 1\.measure: got 'final_los'; did you mean 'final_loss'"),
        ({"measure": 3}, r"claim 1\.measure: got 3"),
        ({"measure": {"sites": "max"}}, r"claim 1\.measure: got .*must be a name or a mapping"),
        ({"measure": {"reading": "grad/nrom"}}, r"claim 1\.measure\.reading: got 'grad/nrom'; did you mean"),
        ({"measure": {"reading": "grad/norm"}}, r"claim 1\.measure\.sites: is required"),
        (
            {"measure": {"reading": "train/loss", "sites": "max"}},
            r"claim 1\.measure\.sites: got 'max'; train/loss has no sites",
        ),
        (
            {"measure": {"reading": "train/loss", "steps": "lst"}},
            r"claim 1\.measure\.steps: got 'lst'; did you mean 'last'",
        ),
        (
            {"measure": {"reading": "grad/share", "sites": "min", "below": 0.1, "for": 0}},
            r"claim 1\.measure\.for: got 0; must be greater than 0",
        ),
        ({"measure": {"incident": "stck"}}, r"claim 1\.measure\.incident: got 'stck'; did you mean 'stuck'"),
        (
            {"measure": {"lead": {"incident": "stuck"}, "until": "end"}},
            r"claim 1\.measure\.until: got 'end'; must be an event",
        ),
        (
            {"measure": {"exponent": "final_loss", "in": "gate"}},
            r"claim 1\.where: gate must be an axis with two or more numbers above 0",
        ),
        (
            {"measure": {"exponent": "lr_sensitivity", "in": "optimizer.lr"}},
            r"claim 1\.measure\.exponent: must be measured of one run",
        ),
        (
            {"measure": "lr_sensitivity", "where": {"optimizer.lr": 0.1}},
            r"claim 1\.where: optimizer\.lr must",
        ),
        ({"measure": "failed", "over": {"gate": "a"}}, r"claim 1\.over: failed can be 0"),
        ({"measure": {"outcome": ["stuck", "lost"]}}, r"claim 1\.measure\.outcome: got 'lost'; accepted: "),
        ({"measure": {"correlation": "train/loss"}}, r"claim 1\.with: is for the measure correlation"),
        (
            {"measure": {"correlation": "train/loss"}, "with": {"gate": "a", "optimizer.lr": 0.1}},
            r"claim 1\.where\.gate: must be one value",
        ),
        ({"measure": {"correlation": "train/loss", "window": 4}}, r"claim 1\.measure\.window: got 4"),
        ({"band": [2, 1]}, r"claim 1\.band: got \[2\.0, 1\.0\]"),
        ({"band": [None, None]}, r"claim 1\.band: got"),
        ({"band": 3}, r"claim 1\.band: got 3; must be a list"),
        ({"minus": {"gate": "a"}, "over": {"gate": "a"}}, r"claim 1\.minus: only one of"),
        ({"bands": [0, 1]}, r"claim 1\.bands: not a known field; did you mean 'band'"),
        ({"says": ""}, r"claim 1\.says: got ''"),
    ],
)
def test_a_claim_that_does_not_fit_is_refused_before_anything_runs(
    change: Mapping[str, Any], message: str
) -> None:
    claim = {"says": "so", "measure": "final_loss", "where": {"gate": "a"}, "band": [0, 1]}
    if "correlation" in str(change) and "with" in change:
        claim["where"] = {}
    plan = SweepPlan(fields={"arch": "pre_norm"}, claims=(claim | dict(change),)).with_axes(AXES)
    with pytest.raises(ConfigError, match=f"^{message}"):
        check_claims(plan)


def test_values_are_found_as_yaml_writes_them() -> None:
    axes = {
        "optimizer.lr": "1e-3:1e-1:3",
        "model.attention.qk_norm": [None, "head"],
        "size": {"1": {}, "2": {}},
    }
    where = {"optimizer.lr": ["1e-3", 0.01], "model.attention.qk_norm": None, "size": 2}
    claim = {"says": "so", "measure": "final_loss", "where": where, "band": [0, None]}
    plan = SweepPlan(fields={"arch": "pre_norm"}, claims=(claim,)).with_axes(axes)
    (read,) = check_claims(plan)
    assert read.where == {
        "optimizer.lr": (0.001, 0.01),
        "model.attention.qk_norm": (None,),
        "size": ("2",),
    }


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 30)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=150)
@given(claim=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=6))
def test_whatever_stands_in_a_claim_it_is_read_or_refused_in_one_line(claim: dict[str, Any]) -> None:
    whole = {"says": "so", "measure": "final_loss", "band": [0, 1]} | claim
    plan = SweepPlan(fields={"arch": "pre_norm"}, claims=(whole,)).with_axes(AXES)
    message = "claim 1"
    try:
        check_claims(plan)
    except ConfigError as error:
        message = str(error)
    assert message.startswith("claim 1")
    assert "\n" not in message
