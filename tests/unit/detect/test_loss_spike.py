"""A loss spike: where it fires, what it leaves alone, what it learns from."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stabilitykit.detect.loss_spike import LossSpike
from stabilitykit.records import Severity

from .conftest import LOSS, falling, losses, noise, records, run, steps, with_values

FLAT = [3.0] * 100


@pytest.mark.parametrize(
    ("loss", "severity"), [(3.25, Severity.WARNING), (3.71, Severity.WARNING), (3.73, Severity.CRITICAL)]
)
def test_one_spike_is_one_finding_at_its_step(loss, severity):
    (finding,) = losses(LossSpike(), with_values(FLAT, {60: loss}))
    assert (finding.kind, finding.site, finding.step, finding.since) == ("loss_spike", LOSS, 60, 60)
    assert finding.value == float(np.float32(loss))
    assert finding.threshold == pytest.approx(3.0 * 1.08)
    assert finding.severity is severity
    assert f"loss {loss}" in finding.message
    assert "0.24 is the limit" in finding.message


def test_the_limit_is_the_largest_of_noise_share_and_floor():
    assert losses(LossSpike(), with_values(FLAT, {60: 3.23})) == []
    # Of five nats learned 1 % is 0.05, which is the floor of a loss near zero.
    small = [5.0, 1.0, *[0.1] * 98]
    assert losses(LossSpike(), with_values(small, {90: 0.148})) == []
    assert steps(losses(LossSpike(), with_values(small, {90: 0.152}))) == [90]
    noisy = [3 + x for x in noise(100, 0.3)]
    # Uniform noise of half-width 0.3 has a robust sigma of 0.22: seven of them are 1.56.
    assert losses(LossSpike(), with_values(noisy, {60: 4.2})) == []
    assert steps(losses(LossSpike(), with_values(noisy, {60: 5.2}))) == [60]


def test_it_is_one_sided():
    assert losses(LossSpike(), with_values(FLAT, {60: 0.5, 61: 0.5})) == []


@pytest.mark.parametrize(("at", "found"), [(8, []), (9, [9])])
def test_it_is_armed_after_three_values_and_six_differences(at, found):
    assert steps(losses(LossSpike(), with_values(FLAT, {at: 9.0}))) == found


@pytest.mark.parametrize(
    "healthy",
    [
        [x + y for x, y in zip(falling(300, 10.0, 2.0, 8.0), noise(300, 0.1), strict=True)],
        falling(300, 6.0, 0.01, 40.0),
        [3.0] * 300,
        [3 + x for x in noise(300, 0.4)],
        [3 + 0.002 * i for i in range(300)],
        [x + y for x, y in zip(falling(30), noise(30, 0.1), strict=True)],
        [math.nan if i % 9 in (4, 5) else 3.0 + x for i, x in enumerate(noise(300, 0.2))],
        [],
    ],
    ids=["fast fall", "deep fall", "constant", "noise", "slow rise", "30 steps", "NaN gaps", "empty"],
)
def test_it_is_silent_on_healthy_losses(healthy):
    assert losses(LossSpike(), healthy) == []


def test_a_plateau_is_flagged_from_its_first_step_until_it_is_a_level():
    found = losses(LossSpike(), [3.0] * 60 + [4.0] * 60)
    # Were flagged values admitted, the median of seven would follow after four of them.
    assert steps(found) == list(range(60, 79))
    assert {finding.since for finding in found} == {60}
    assert {finding.threshold for finding in found} == {found[0].threshold}


def test_the_new_level_is_the_base_of_the_next_spike():
    found = losses(LossSpike(), with_values([3.0] * 60 + [4.0] * 60, {100: 4.5}))
    assert steps(found)[-1] == 100
    assert found[-1].since == 100
    assert found[-1].threshold == pytest.approx(4.0 * 1.08)


@pytest.mark.parametrize("second", [61, 62, 64, 70])
def test_a_second_spike_soon_after_the_first_is_seen_with_the_same_limit(second):
    found = losses(LossSpike(), with_values(FLAT, {60: 9.0, second: 3.5}))
    assert steps(found) == [60, second]
    assert found[0].threshold == found[1].threshold
    assert found[1].since == (60 if second == 61 else second)


def test_the_limit_does_not_depend_on_the_value_it_judges():
    series = [x + y for x, y in zip(falling(100), noise(100, 0.1), strict=True)]
    limits = {losses(LossSpike(), with_values(series, {60: loss}))[0].threshold for loss in (5.0, 50.0, 5e6)}
    assert len(limits) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_passed_over(bad):
    found = losses(LossSpike(), with_values(FLAT, {58: bad, 59: bad, 60: 4.0, 62: bad}))
    clean = losses(LossSpike(), with_values(FLAT, {60: 4.0}))
    assert found == clean
    assert steps(found) == [60]


@given(
    st.lists(st.floats(2.0, 4.0), min_size=40, max_size=60),
    st.lists(st.tuples(st.integers(0, 59), st.sampled_from([math.nan, math.inf, -math.inf])), max_size=8),
)
@settings(max_examples=40)
def test_records_without_a_number_change_nothing_else(values, bad):
    spiked = with_values(values, {35: 9.0, 38: 8.0})
    mixed = list(enumerate(spiked))
    for place, value in bad:
        mixed.insert(place, (1000, value))
    series = records({LOSS: [value for _, value in mixed]}, [step for step, _ in mixed])
    assert run(LossSpike(), series) == losses(LossSpike(), spiked)


def test_a_bump_that_the_batch_explains_is_none():
    bump = {60: 1.0, 61: 0.6}
    unigram = [3.1 + x + bump.get(i, 0.0) for i, x in enumerate(noise(100, 0.3))]
    loss = [x - 0.8 for x in unigram]
    assert losses(LossSpike(), loss, unigram) == []
    flat = [x - bump.get(i, 0.0) for i, x in enumerate(unigram)]
    assert steps(losses(LossSpike(), loss, flat)) == [60, 61]
    # At the same noise the loss alone hides it: that is what the difference is for.
    assert losses(LossSpike(), loss) == []


def test_an_easy_batch_at_an_unchanged_loss_counts():
    unigram = with_values([3.0] * 100, {60: 2.0})
    (finding,) = losses(LossSpike(), [2.5] * 100, unigram)
    assert (finding.step, finding.value) == (60, 2.5)
    # The batch is easier by a nat than the mean of those so far, which itself is 1/61 lower by it.
    assert finding.threshold == pytest.approx(2.5 - (1 - 1 / 61) + 0.08 * 2.5)


def test_a_step_without_unigram_cross_entropy_is_no_jump():
    unigram = [None if i % 10 else 3.0 for i in range(100)]
    assert losses(LossSpike(), [2.9] * 100, unigram) == []
    assert steps(losses(LossSpike(), with_values([2.9] * 100, {63: 3.9}), unigram)) == [63]
    lost = with_values([3.0] * 100, {50: math.nan})
    assert losses(LossSpike(), [2.9] * 100, lost) == []


def test_records_without_a_loss_do_not_count():
    sparse = [3.0 if i % 10 == 0 else None for i in range(1000)]
    sparse[600] = 4.0
    series = records({LOSS: sparse, "optim/lr": [1e-3] * 1000})
    assert steps(run(LossSpike(), series)) == [600]
    sparse[600], sparse[80] = 3.0, 4.0
    assert run(LossSpike(), records({LOSS: sparse, "optim/lr": [1e-3] * 1000})) == []


@given(
    st.integers(-20, 20),
    st.lists(st.floats(2.0, 12.0, width=32), min_size=60, max_size=90),
    st.booleans(),
)
@settings(max_examples=40)
def test_flags_do_not_depend_on_the_unit_of_the_loss(power, values, with_unigram):
    """Multiplying by a power of two is exact; the only limit in nats does not bind above a loss of 0.625."""
    scale = 2.0**power
    values = with_values(values, {40: 64.0, 44: 64.0})
    unigram = [x + 0.5 for x in noise(len(values), 0.125)] if with_unigram else None
    before = losses(LossSpike(), values, unigram)
    after = losses(LossSpike(), [scale * x for x in values], unigram and [scale * x for x in unigram])
    assert [(f.step, f.since, f.severity) for f in after] == [(f.step, f.since, f.severity) for f in before]
    assert [f.value for f in after] == [scale * f.value for f in before]
    assert [f.threshold for f in after] == pytest.approx([scale * f.threshold for f in before])


@pytest.mark.parametrize("offset", [-40.0, -8.0, 0.0, 1000.0])
def test_what_noise_decides_does_not_depend_on_where_zero_is(offset):
    """With no limit that is a share of the loss, adding a constant changes nothing."""
    series = with_values([8.0 + x for x in noise(100, 0.5)], {50: 16.0, 54: 13.0})
    bare = {"relative": 0.0, "absolute": 0.0}
    before = losses(LossSpike(**bare), series)
    after = losses(LossSpike(**bare), [x + offset for x in series])
    assert steps(after) == steps(before) == [50, 54]
    assert [f.threshold - offset for f in after] == pytest.approx([f.threshold for f in before], rel=0.02)


def test_a_tiny_loss_has_its_own_floor():
    fall = falling(100, 5e-6, 1e-6, 8.0)
    assert steps(losses(LossSpike(), with_values(fall, {80: 2e-6}))) == [80]


def test_a_spike_on_a_smooth_fall_through_decades_is_seen():
    fall = [5.0 * 0.9**i for i in range(60)]
    assert losses(LossSpike(), fall) == []
    assert steps(losses(LossSpike(), with_values(fall, {25: 1.2}))) == [25]


def test_noise_that_grows_and_falls_with_the_schedule_is_followed():
    values = [3 + (0.02 if i < 400 else 0.2) * x for i, x in enumerate(noise(800))]
    assert losses(LossSpike(relative=0.0), values[:400]) == []
    late = losses(LossSpike(relative=0.0), values)
    assert late
    assert all(400 <= finding.step < 450 for finding in late)
