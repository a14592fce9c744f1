"""Batches that are hard by themselves are no spikes: one-sided noise, and rarer tasks."""

import json
import math

import numpy as np
import pytest

from stabilitykit.detect.loss_spike import LossSpike
from stabilitykit.detect.recurrence import Recurrence
from stabilitykit.detect.rolling import Window
from stabilitykit.detect.tail import tail

from .conftest import LOSS, losses, records, run, steps, with_values


def draw(n, seed=0):
    return np.random.default_rng(seed)


def window(values):
    held = Window(256)
    held.load_state_dict(list(map(float, values)))
    return held


def few_samples(n, seed, batch=1):
    """Return losses of batches of few samples, each spread over two decades."""
    return list(0.1 * np.exp(0.9 * draw(n, seed).standard_normal((n, batch))).mean(1))


def test_noise_of_both_sides_has_no_tail_of_its_own():
    for seed in range(20):
        values = draw(0, seed).standard_normal(256)
        assert tail(window(values)) == 1.0
        assert tail(window(-np.exp(values))) == 1.0


def test_a_one_sided_tail_reaches_as_far_as_it_is_heavy():
    exponential = [tail(window(draw(0, seed).exponential(size=256))) for seed in range(20)]
    lognormal = [tail(window(np.exp(1.2 * draw(0, seed).standard_normal(256)))) for seed in range(20)]
    assert 1.5 < np.median(exponential) < np.median(lognormal)


def test_what_takes_a_while_to_come_back_is_no_tail_of_batches():
    jumps = np.where(np.arange(256) % 32 == 0, 10.0, 0.0)
    decaying = np.convolve(jumps, 0.8 ** np.arange(12))[:256] + 0.1 * draw(0).standard_normal(256)
    assert tail(window(decaying)) == 1.0
    assert tail(window(draw(0).permutation(decaying))) > 1.0


@pytest.mark.parametrize("held", [[], [1.0] * 15, [1.0] * 256, [0.0] * 200 + [1.0] * 56])
def test_where_there_is_no_width_there_is_no_tail(held):
    assert tail(window(held)) == 1.0


def test_losses_of_few_samples_are_silent_and_what_stands_out_of_them_is_seen():
    told = sum(len(losses(LossSpike(), few_samples(300, seed))) for seed in range(10))
    assert told <= 30, "of widths alone it is 46"
    for seed in range(5):
        series = with_values(few_samples(300, seed), {250: 20.0})
        assert 250 in steps(losses(LossSpike(), series))


def mixture(rare, n=300, seed=0, height=1.0):
    hard = draw(0, seed).random(n) < rare
    return [
        3.0 + 0.02 * x + height * bool(h) for x, h in zip(draw(0, seed).standard_normal(n), hard, strict=True)
    ]


@pytest.mark.parametrize("rare", [0.1, 0.2])
def test_a_rarer_harder_task_is_learned_from_its_first_batches(rare):
    told = steps(losses(LossSpike(), mixture(rare)))
    assert len(told) <= 4
    assert not [step for step in told if step > 120]


def test_a_task_that_is_not_learned_is_known_by_its_level_while_all_else_falls_away():
    easy = 3.8 - 0.02 * np.arange(110) + 0.02 * draw(0).standard_normal(110)
    hard = dict.fromkeys((20, 45, 70, 83, 96), 4.5)
    assert steps(losses(LossSpike(), with_values(easy, hard))) == [20, 45, 70]
    assert steps(losses(LossSpike(), with_values(easy, hard | {83: 7.0}))) == [20, 45, 70, 83, 96]


def test_values_alike_are_a_habit_where_heights_are_not():
    level, neither = Recurrence(), Recurrence()
    for place, height in ((10, 1.0), (20, 1.4), (30, 2.0)):
        level.push(place, height, 4.5)
        neither.push(place, height, 2.0 + height)
    assert level.limit(40, 2.0) == pytest.approx(4.5 + 0.5 - 2.0)
    assert neither.limit(40, 2.0) == 0.0


def test_something_higher_than_the_harder_task_is_seen():
    assert 250 in steps(losses(LossSpike(), with_values(mixture(0.1), {250: 12.0})))


def test_spikes_far_apart_are_each_told_of():
    spiky = with_values([3.0] * 600, dict.fromkeys(range(60, 600, 100), 4.0))
    assert steps(losses(LossSpike(), spiky)) == list(range(60, 600, 100))


def test_spikes_of_all_heights_are_each_told_of():
    heights = {60: 4.0, 70: 6.0, 80: 9.0, 90: 3.5, 100: 12.0}
    assert steps(losses(LossSpike(), with_values([3.0] * 120, heights))) == sorted(heights)


def test_only_single_values_become_a_habit():
    single, wide = Recurrence(), Recurrence()
    for start in (10, 20, 30):
        single.push(start, 1.0, 4.0)
        wide.push(start, 1.0, 4.0)
        wide.push(start + 1, 1.0, 4.0)
    assert single.limit(40, 3.0) == 1.5
    assert single.limit(10 + Recurrence.WITHIN + 1, 3.0) == 0.0
    assert wide.limit(40, 3.0) == 0.0


def test_what_is_a_habit_goes_on_after_a_restart():
    series = records({LOSS: mixture(0.2) + few_samples(60, 1) + [math.nan, 9.0]})
    whole = LossSpike()
    found = run(whole, series)
    for cut in (30, 75, 150, 310):
        first, second = LossSpike(), LossSpike()
        before = run(first, series[:cut])
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert before + run(second, series[cut:]) == found
        assert json.dumps(second.state_dict()) == json.dumps(whole.state_dict())
