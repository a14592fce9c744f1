"""Jumps of gradient norms and update ratios: on the very step, against a window of past values."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stabilitykit.detect.gradient_spike import GradientSpike
from stabilitykit.detect.update_spike import UpdateSpike
from stabilitykit.records import Severity

from .conftest import noise, records, run, steps, with_values

NORM = "optim/grad_norm"
RATIO = "optim/update_ratio/blocks.{:02d}"
both = pytest.mark.parametrize(("make", "tag"), [(GradientSpike, NORM), (UpdateSpike, RATIO.format(3))])
FLAT = [2.0] * 80


def one(make, tag, values):
    return run(make(), records({tag: values}))


@both
def test_a_jump_is_one_finding_on_its_very_step(make, tag):
    (finding,) = one(make, tag, with_values(FLAT, {50: 9.0}))
    assert (finding.kind, finding.step, finding.since) == (make.kind, 50, 50)
    assert finding.site == (NORM if make is GradientSpike else "blocks.03")
    assert finding.severity is (Severity.INFO if make is GradientSpike else Severity.WARNING)
    assert (finding.value, finding.threshold) == (pytest.approx(9.0), pytest.approx(8.0))
    assert "4.5 times" in finding.message
    assert one(make, tag, with_values(FLAT, {50: 7.9})) == []


@both
def test_it_is_one_sided(make, tag):
    assert one(make, tag, with_values(FLAT, {50: 1e-6, 51: 0.0})) == []


@both
@pytest.mark.parametrize(("at", "found"), [(15, []), (16, [16])])
def test_it_is_armed_after_sixteen_values(make, tag, at, found):
    assert steps(one(make, tag, with_values(FLAT, {at: 90.0}))) == found


@both
def test_noise_widens_the_limit(make, tag):
    # Robust sigma of a uniform log with half-width 0.6 is 0.44; seven of them are a factor 22.
    noisy = [2 * math.exp(x) for x in noise(80, 0.6)]
    assert one(make, tag, with_values(noisy, {60: 20.0})) == []
    assert steps(one(make, tag, with_values(noisy, {60: 400.0}))) == [60]


@both
@pytest.mark.parametrize("second", [51, 52, 55, 70])
def test_a_second_jump_soon_after_is_seen_with_the_same_limit(make, tag, second):
    found = one(make, tag, with_values(FLAT, {50: 1e4, second: 9.0}))
    assert steps(found) == [50, second]
    assert found[0].threshold == pytest.approx(found[1].threshold)


@both
def test_a_new_level_is_learned_in_the_end(make, tag):
    found = one(make, tag, [2.0] * 50 + [2e5] * 100)
    # Let in as it is, it would be half of the window after sixteen steps; at the limit it takes longer.
    assert steps(found)[:17] == list(range(50, 67))
    assert found[15].threshold == pytest.approx(8.0)
    assert 8.0 < found[16].threshold < 1e4
    assert steps(found)[-1] < 120


@both
def test_the_limit_does_not_depend_on_the_value_it_judges(make, tag):
    noisy = [2 * math.exp(x) for x in noise(80, 0.2)]
    limits = {one(make, tag, with_values(noisy, {60: x}))[0].threshold for x in (50.0, 5e5, 5e30)}
    assert len(limits) == 1


@both
@pytest.mark.parametrize("width", [0.2, 0.3])
def test_lognormal_noise_constants_and_short_series_are_healthy(make, tag, width):
    law = random.Random(7)
    assert one(make, tag, [law.lognormvariate(0.0, width) for _ in range(600)]) == []
    assert one(make, tag, FLAT) == []
    assert one(make, tag, [law.lognormvariate(0.0, width) for _ in range(30)]) == []
    assert one(make, tag, [10 * math.exp(-i / 5) + 0.1 for i in range(100)]) == []
    assert one(make, tag, [1e-5 * (i + 1) for i in range(100)]) == []


def test_wide_lognormal_noise_alarms_nobody():
    law = random.Random(11)
    found = one(GradientSpike, NORM, [law.lognormvariate(0.0, 0.6) for _ in range(3000)])
    assert [finding for finding in found if finding.severity is not Severity.INFO] == []


@pytest.mark.parametrize(("ratio", "severity"), [(99.0, Severity.INFO), (101.0, Severity.WARNING)])
def test_a_gradient_alarms_beyond_a_hundredfold_only(ratio, severity):
    (finding,) = one(GradientSpike, NORM, with_values(FLAT, {50: 2 * ratio}))
    assert finding.severity is severity


@both
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, None])
def test_what_is_no_number_is_no_part_of_the_past(make, tag, bad):
    values = with_values(FLAT, {50: 90.0})
    holed = with_values(values, dict.fromkeys((10, 48, 49, 51), bad))
    assert one(make, tag, holed) == one(make, tag, values)


def test_jumps_of_one_step_come_largest_first_and_leave_the_others_alone():
    columns = {RATIO.format(i): with_values(FLAT, {50: x}) for i, x in enumerate((2.0, 9.0, 70.0, 20.0))}
    columns[RATIO.format(4)] = [math.nan] * 80
    found = run(UpdateSpike(), records(columns))
    assert [finding.site for finding in found] == ["blocks.02", "blocks.03", "blocks.01"]
    for finding in found:
        tag = f"optim/update_ratio/{finding.site}"
        assert one(UpdateSpike, tag, columns[tag]) == [finding]


def test_each_site_is_armed_by_its_own_values():
    late = [None] * 40 + [2.0] * 3 + [20.0] + [2.0] * 20 + [20.0] + [2.0] * 15
    found = run(UpdateSpike(), records({RATIO.format(0): FLAT, RATIO.format(1): late}))
    assert [(finding.site, finding.step) for finding in found] == [("blocks.01", 64)]
    overflowed = [math.inf] * 20 + [2.0, 900.0] + [2.0] * 58
    assert one(GradientSpike, NORM, overflowed) == []


@both
def test_readings_of_every_tenth_step(make, tag):
    sparse = [2.0 if i % 10 == 0 else None for i in range(400)]
    sparse[300] = 30.0
    series = records({tag: sparse, "train/loss": [3.0] * 400})
    assert steps(run(make(), series)) == [300]


@both
@given(power=st.integers(-20, 20), seed=st.integers(0, 2**16))
@settings(max_examples=15)
def test_flags_do_not_depend_on_the_unit(make, tag, power, seed):
    law = random.Random(seed)
    values = with_values([law.lognormvariate(0.0, 0.3) for _ in range(60)], {40: 150.0, 43: 190.0})
    found = one(make, tag, values)
    scaled = one(make, tag, [x * 2.0**power for x in values])
    assert [(f.step, f.severity) for f in scaled] == [(f.step, f.severity) for f in found]
    assert {40, 43} <= set(steps(found))


RATE = "optim/lr"


def test_a_rate_that_jumps_is_told_beside_the_groups_and_first():
    columns = {RATIO.format(0): with_values(FLAT, {50: 60.0}), RATE: with_values([1e-3] * 80, {50: 0.03})}
    found = run(UpdateSpike(), records(columns))
    assert [(f.site, f.step) for f in found] == [(RATE, 50), ("blocks.00", 50)]
    assert found[0].message == "the learning rate, 0.03, is 30 times the usual"
    assert found[0].threshold == pytest.approx(4e-3)


@pytest.mark.parametrize(
    "rates",
    [
        [1e-3 * (i + 1) / 60 for i in range(60)] + [1e-3] * 60,
        [1e-3 * (1 + math.cos(math.pi * i / 120)) / 2 for i in range(120)],
        [1e-3 * 1.08**i for i in range(120)],
        [1e-3] * 60 + [0.0, math.nan, 3.9e-3, None] + [1e-3] * 60,
    ],
    ids=["warmup", "cosine", "range test", "below"],
)
def test_schedules_are_no_jumps(rates):
    assert run(UpdateSpike(), records({RATE: rates, "train/loss": [3.0] * len(rates)})) == []


def test_a_new_rate_is_learned_in_the_end():
    found = one(UpdateSpike, RATE, [1e-3] * 50 + [1e-1] * 80)
    assert steps(found)[:16] == list(range(50, 66))
    assert steps(found)[-1] < 100
