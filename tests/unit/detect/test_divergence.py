"""A divergence: when it is announced, when it ends, what it does not take for one."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stabilitykit.detect.divergence import Divergence
from stabilitykit.records import Severity

from .conftest import LOSS, falling, losses, noise, records, run, steps, with_values

LEARNED = [4.0 - 0.02 * i for i in range(101)] + [2.0] * 99
"""200 steps from 4 to 2: 30 % of the best is 0.6 nat, and 8 % is 0.16."""


LONG = LEARNED + [2.0] * 200
CLIMB = [2.0 + 0.01 * i for i in range(1, 151)]


def test_a_climb_is_announced_in_the_fifth_record_beyond_the_limit():
    found = losses(Divergence(), LEARNED + CLIMB)
    # The median of seven is three records behind, and 2.61 the first value beyond 2.6.
    since = 199 + 61 + 3
    assert steps(found) == list(range(since + 4, 350))
    first = found[0]
    assert (first.kind, first.site, first.since) == ("divergence", LOSS, since)
    assert {finding.since for finding in found} == {since}
    assert first.value == pytest.approx(2.65)
    assert first.threshold == pytest.approx(2.6)
    assert "2.65 has stood 0.65 above its best for 5 steps; 0.6 is the limit" in first.message


def test_twice_as_far_as_the_limit_it_is_critical():
    found = losses(Divergence(), LEARNED + CLIMB)
    critical = [finding.value for finding in found if finding.severity is Severity.CRITICAL]
    assert min(critical) == pytest.approx(3.2)
    assert found[-1].value == pytest.approx(max(critical))
    assert found[0].severity is Severity.WARNING


def test_a_small_rise_counts_when_it_lasts_for_a_fifth_of_the_run():
    found = losses(Divergence(), LONG + [2.2] * 300)
    # The median of 31 is up from the 16th record on, and 105 are a fifth of what is there by then.
    since = 400 + 15
    assert found[0].since == since
    first = steps(found)[0]
    assert first - since + 1 == (first + 1) // 5
    assert found[0].threshold == pytest.approx(2.16)
    assert found[0].severity is Severity.WARNING
    assert losses(Divergence(), LONG + [2.15] * 300) == []


@pytest.mark.parametrize(("lasts", "found"), [(59, False), (60, True)])
def test_in_a_short_run_it_must_last_for_sixty_records(lasts, found):
    assert bool(losses(Divergence(), [2.0] * 100 + [2.2] * lasts + [2.0] * 60)) is found


def test_a_swing_that_comes_back_is_none():
    wave = [2.0 * (1 + 0.06 * math.sin(i / 10)) for i in range(900)]
    assert max(wave) / min(wave) > 1.12
    assert losses(Divergence(), wave) == []


def test_in_a_long_log_five_records_are_a_spike():
    assert losses(Divergence(), LONG + [2.0] * 1600 + [3.0] * 19 + [2.0] * 60) == []
    assert losses(Divergence(), LONG + [2.0] * 1600 + [3.0] * 20 + [2.0] * 60) != []


@pytest.mark.parametrize(("high", "found"), [(4, []), (5, [207])])
def test_it_must_hold_for_five_records(high, found):
    # A median of seven stands high for as many records as the loss did, three records later.
    assert steps(losses(Divergence(), LEARNED + [3.0] * high + [2.0] * 60)) == found


def test_it_ends_within_half_of_the_limit():
    lingering = losses(Divergence(), LEARNED + [3.0] * 20 + [2.4] * 40)
    back = losses(Divergence(), LEARNED + [3.0] * 20 + [2.2] * 40)
    assert steps(lingering) == list(range(207, 260))
    assert steps(back) == list(range(207, 223))
    # From below, the same 2.4 opens nothing so soon.
    assert losses(Divergence(), LEARNED + [2.4] * 40) == []


@pytest.mark.parametrize(
    "healthy",
    [
        [x + y for x, y in zip(falling(300, 10.0, 2.0, 8.0), noise(300, 0.3), strict=True)],
        [3.0] * 300,
        [3 + x for x in noise(300, 0.5)],
        LEARNED + [2.0 + 0.001 * i for i in range(150)],
        [x + y for x, y in zip(falling(30), noise(30, 0.1), strict=True)],
        [math.nan if i % 5 == 2 else x for i, x in enumerate(falling(300))],
        [math.nan] * 50,
        [],
    ],
    ids=["fast fall", "constant", "noise", "small rise", "30 steps", "NaN gaps", "all NaN", "empty"],
)
def test_it_is_silent_on_healthy_losses(healthy):
    assert losses(Divergence(), healthy) == []


def test_the_share_of_the_loss_and_the_noise_raise_the_limit():
    assert losses(Divergence(), [3.0] * 60 + [3.89] * 60) == []
    assert steps(losses(Divergence(), [3.0] * 60 + [3.91] * 60))[0] == 67
    noisy = [3 + x for x in noise(200, 0.3)]
    assert losses(Divergence(), [x + 0.5 * (i > 100) for i, x in enumerate(noisy)]) == []
    assert losses(Divergence(), [x + 3.0 * (i > 100) for i, x in enumerate(noisy)]) != []


def test_ripples_near_zero_are_no_climb():
    near_zero = [*falling(60, 5.0, 0.0, 8.0), *([1e-4] * 100), *([5e-2] * 100)]
    assert losses(Divergence(), near_zero) == []
    assert losses(Divergence(), [*near_zero, *([0.2] * 60)]) != []


def test_what_is_no_number_is_passed_over():
    values = LEARNED + [3.0] * 30
    holes = [x for i, value in enumerate(values) for x in ((math.nan, value) if i % 4 == 0 else (value,))]
    places = [i for i, x in enumerate(holes) if not math.isnan(x)]
    found = losses(Divergence(), holes)
    assert [places.index(step) for step in steps(found)] == steps(losses(Divergence(), values))
    assert found[0].since == places[losses(Divergence(), values)[0].since]


def test_the_steps_it_names_are_those_of_the_records():
    values = LEARNED + [3.0] * 30
    found = run(Divergence(), records({LOSS: values}, range(1000, 1000 + 10 * len(values), 10)))
    plain = losses(Divergence(), values)
    assert [(f.step, f.since) for f in found] == [(1000 + 10 * f.step, 1000 + 10 * f.since) for f in plain]


def test_harder_batches_are_no_divergence():
    loss = LEARNED + [3.0] * 60
    assert losses(Divergence(), loss, [3.0] * 200 + [4.0] * 60) == []
    assert losses(Divergence(), loss, [3.0] * 260) != []


def test_the_share_of_the_best_is_of_the_loss_not_of_the_difference():
    flat, harder = [3.0] * 60, [3.0] * 120
    assert losses(Divergence(), flat + [3.89] * 60, harder) == []
    assert losses(Divergence(), flat + [3.91] * 60, harder)[0].threshold == pytest.approx(3.9)


def test_steps_without_unigram_cross_entropy_are_no_climb():
    sparse = [None if i % 10 else 3.0 for i in range(200)]
    assert losses(Divergence(), LEARNED, sparse) == []
    assert losses(Divergence(), LEARNED, [3.0] * 150 + [None] * 50) == []


@given(st.integers(-6, 6), st.lists(st.floats(0.5, 6.0, width=32), min_size=60, max_size=90))
@settings(max_examples=40)
def test_flags_do_not_depend_on_the_unit_of_the_loss(power, values):
    """No limit is in nats, so that multiplying by a power of two, which is exact, changes nothing."""
    scale = 2.0**power
    values = [*values, *([9.0] * 12), *values[:20]]
    before = losses(Divergence(), values)
    after = losses(Divergence(), [scale * x for x in values])
    assert [(f.step, f.since, f.severity) for f in after] == [(f.step, f.since, f.severity) for f in before]
    assert [f.value for f in after] == [scale * f.value for f in before]
    assert [f.threshold for f in after] == [scale * f.threshold for f in before]


def test_a_second_climb_is_seen_against_the_best_of_all():
    high = [*range(120, 130), *range(150, 160)]
    found = losses(Divergence(), with_values(LEARNED, dict.fromkeys(high, 3.0)))
    assert sorted({finding.since for finding in found}) == [123, 153]
    assert found[0].threshold == pytest.approx(found[-1].threshold)
