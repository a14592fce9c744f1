"""Which steps are observed."""

from itertools import pairwise
from typing import Any

import pytest

from stabilitykit.errors import ConfigError
from stabilitykit.live import cadence as module
from stabilitykit.live.cadence import BudgetCadence, Cadence, cadence


class Clock:
    """A clock that moves as fast as the steps that are told it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(paced: Cadence, clock: Clock, steps: int, plain: float, cost: float, start: int = 0) -> list[int]:
    """Return the steps that were observed, at a price for each."""
    seen = []
    for step in range(start, start + steps):
        due = paced.is_due(step)
        clock.now += plain + cost * due
        paced.finish(step)
        if due:
            seen.append(step)
    return seen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "perf_counter", made)
    return made


def test_every_third_step_is_every_third_step(clock: Clock) -> None:
    assert run(Cadence(3), clock, 8, 1.0, 0.0) == [0, 3, 6]


@pytest.mark.parametrize(("cost", "every"), [(0.10, 5), (0.5, 25), (0.011, 1), (0.041, 3)])
def test_a_budget_is_kept(clock: Clock, cost: float, every: int) -> None:
    paced = BudgetCadence(0.02)
    run(paced, clock, 200, 1.0, cost)
    seen = run(paced, clock, 1000, 1.0, cost, start=200)
    assert paced.every_n_steps == every
    assert len(seen) * cost / 1000 <= 0.0205
    # And used: one observed step more in each gap would overrun it.
    assert every == 1 or len(seen) >= 1000 // every - 1


def test_it_follows_a_price_that_changes(clock: Clock) -> None:
    paced = BudgetCadence(0.02)
    run(paced, clock, 200, 1.0, 0.01)
    assert paced.every_n_steps == 1
    run(paced, clock, 400, 1.0, 0.2, start=200)
    assert paced.every_n_steps == 10
    run(paced, clock, 400, 1.0, 0.0, start=600)
    assert paced.every_n_steps == 1


def test_it_follows_another_processs_choice_until_the_next_observed_step(clock: Clock) -> None:
    paced, seen = BudgetCadence(0.02), []
    for step in range(60):
        due = paced.is_due(step)
        clock.now += 1.0
        if due:
            seen.append(step)
            paced.follow(7)
        paced.finish(step)
    assert {b - a for a, b in pairwise(seen)} == {7}
    assert paced.every_n_steps == 1, "what its own clock asks for is what it would tell the others"


def test_it_is_never_denser_than_asked_for(clock: Clock) -> None:
    paced = BudgetCadence(0.5, at_most_every=4)
    seen = run(paced, clock, 100, 1.0, 0.01)
    assert {b - a for a, b in pairwise(seen)} == {4}


@pytest.mark.parametrize("wrong", [0, 1, -0.1, "2%", True, float("nan")])
def test_other_budgets_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"budget: got .*; must be a share above 0 and below 1"):
        cadence(1, wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "3", True])
def test_other_cadences_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"every_n_steps: got .*; must be a whole number from 1 on"):
        cadence(wrong, None)
