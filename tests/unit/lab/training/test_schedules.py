"""The learning rate's factor at the steps where it turns."""

import itertools
import math

import pytest

from stabilitykit.errors import ConfigError
from stabilitykit.lab.training import ScheduleConfig, lr_factor, resolve_schedule, resolve_warmup


def factors(total: int, **fields: object) -> list[float]:
    schedule = ScheduleConfig.model_validate(fields)
    return [lr_factor(step, schedule, total) for step in range(total + 1)]


def test_warmup_is_linear_and_never_zero() -> None:
    assert factors(8, warmup=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_no_warmup_starts_at_the_peak() -> None:
    assert factors(3, warmup=0) == [1.0] * 4


def test_cosine_ends_at_the_final_ratio_at_the_last_step_and_stays() -> None:
    values = factors(12, kind="cosine", warmup=3, final_ratio=0.2)
    assert values[:4] == [1 / 3, 2 / 3, 1.0, 1.0]
    assert values[7] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 2)) / 2)
    assert values[11] == values[12] == pytest.approx(0.2)
    assert values[3:] == sorted(values[3:], reverse=True)


@pytest.mark.parametrize("warmup", [9, 10])
def test_cosine_with_hardly_a_step_after_warmup(warmup: int) -> None:
    values = factors(10, kind="cosine", warmup=warmup)
    assert all(0 < value <= 1 for value in values)


def test_warmup_left_out_is_a_tenth() -> None:
    assert [resolve_warmup(ScheduleConfig(), total) for total in (5, 10, 300, 309)] == [0, 1, 30, 30]


def test_warmup_may_fill_the_run_but_not_exceed_it() -> None:
    assert resolve_warmup(ScheduleConfig(warmup=10), 10) == 10
    with pytest.raises(ConfigError, match=r"^schedule\.warmup: got 11; must be at most the run's steps, 10$"):
        resolve_warmup(ScheduleConfig(warmup=11), 10)


def test_linear_ends_at_the_final_ratio_at_the_last_step_and_stays() -> None:
    values = factors(6, kind="linear", warmup=1, final_ratio=0.2)
    assert values == pytest.approx([1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_wsd_is_at_the_peak_until_its_last_steps() -> None:
    values = factors(10, kind="wsd", warmup=2, decay_steps=4, decay_shape="linear", final_ratio=0.0)
    assert values == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0])


@pytest.mark.parametrize(
    ("shape", "halfway"), [("linear", 0.5), ("sqrt", 1 - math.sqrt(0.5)), ("cosine", 0.5)]
)
def test_the_shapes_of_wsd(shape: str, halfway: float) -> None:
    values = factors(100, kind="wsd", warmup=10, decay_steps=40, decay_shape=shape, final_ratio=0.2)
    assert values[10:60] == [1.0] * 50
    assert values[79] == pytest.approx(0.2 + 0.8 * halfway)
    assert values[99] == values[100] == pytest.approx(0.2)
    assert all(a > b for a, b in itertools.pairwise(values[59:100]))


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "cosine"},
        {"kind": "linear"},
        *({"kind": "wsd", "decay_shape": shape} for shape in ("linear", "sqrt", "cosine")),
    ],
    ids=str,
)
def test_longer_runs_move_in_smaller_steps_so_that_nothing_jumps(fields: dict[str, str]) -> None:
    def largest_jump(total: int) -> float:
        values = factors(total, final_ratio=0.0, **fields)
        return max(abs(a - b) for a, b in itertools.pairwise(values))

    # The root is steepest where it begins: its first of n steps is 1/√n.
    assert largest_jump(400) < 0.12
    assert largest_jump(6400) < 0.3 * largest_jump(400)


def test_wsd_linear_over_all_that_follows_the_warmup_is_linear() -> None:
    whole = factors(12, kind="wsd", warmup=3, decay_steps=8, decay_shape="linear")
    assert whole == pytest.approx(factors(12, kind="linear", warmup=3))


def test_wsd_lengths_left_out_are_rules_that_yield() -> None:
    def lengths(total: int = 100, **fields: object) -> tuple[int | None, int | None]:
        schedule = resolve_schedule(ScheduleConfig.model_validate({"kind": "wsd", **fields}), total)
        assert schedule.decay_ratio is None
        assert resolve_schedule(schedule, total) == schedule
        return schedule.warmup, schedule.decay_steps

    assert lengths() == (10, 20)
    assert lengths(decay_ratio=0.5) == (10, 50)
    assert lengths(decay_steps=95) == (5, 95)
    assert lengths(decay_ratio=1.0) == (0, 100)
    assert lengths(warmup=90) == (90, 10)
    assert lengths(warmup=100) == (100, None)
    assert lengths(total=1) == (0, 1)


def test_only_wsd_has_a_decay_to_write_out() -> None:
    assert resolve_schedule(ScheduleConfig(kind="cosine"), 100) == ScheduleConfig(kind="cosine", warmup=10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decay_steps": 11}, "schedule.decay_steps: got 11; must be at most the run's steps, 10"),
        (
            {"warmup": 4, "decay_steps": 7},
            "schedule.decay_steps: got 7; must be at most what schedule.warmup 4 leaves of the "
            "run's steps, 6",
        ),
        (
            {"warmup": 4, "decay_ratio": 0.7},
            "schedule.decay_ratio: got 0.7, 7 steps; must be at most what schedule.warmup 4 leaves of the "
            "run's steps, 6",
        ),
    ],
)
def test_warmup_and_decay_longer_than_the_run_are_refused(fields: dict[str, object], message: str) -> None:
    schedule = ScheduleConfig.model_validate({"kind": "wsd", **fields})
    with pytest.raises(ConfigError) as refused:
        resolve_warmup(schedule, 10)
    assert str(refused.value) == message
