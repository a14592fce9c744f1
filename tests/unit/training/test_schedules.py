"""The learning rate's factor at the steps where it turns."""

import math

import pytest

from stabilitykit.errors import ConfigError
from stabilitykit.training import ScheduleConfig, lr_factor, resolve_warmup


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
