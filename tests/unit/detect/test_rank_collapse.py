"""Tokens that become alike: a fall to a thirtieth that ends below a hundredth."""

import math

import pytest

from stabilitykit.detect.rank_collapse import RankCollapse
from stabilitykit.records import Severity

from .conftest import noise, records, run, steps

SPREAD = "act/token_spread/blocks.03.resid_post"


def spreads(values, steps_=None):
    return run(RankCollapse(), records({SPREAD: values}, steps_))


def test_a_fall_to_little_is_told_in_the_third_reading_after_the_median_and_is_evidence():
    found = spreads([0.6] * 30 + [0.005] * 20)
    assert steps(found)[0] == 33
    assert (found[0].since, found[0].site, found[0].severity) == (31, "blocks.03.resid_post", Severity.INFO)
    assert found[0].value == pytest.approx(0.005)
    assert found[0].threshold == pytest.approx(0.01)
    assert found[0].message.endswith("their mean cosine has risen from 0.40 to 0.9950")


@pytest.mark.parametrize(
    ("before", "after"),
    [(0.6, 0.011), (0.2, 0.2 / 29), (0.05, 0.9), (0.6, math.nan)],
    ids=["not small", "not a thirtieth", "a rise", "no number"],
)
def test_both_are_needed(before, after):
    assert spreads([before] * 30 + [after] * 20) == []


def test_what_is_alike_from_the_start_or_slowly_becomes_so_is_nothing():
    assert spreads([0.005] * 60) == []
    assert spreads([0.009] * 30 + [0.004] * 30) == []
    assert spreads([0.9 * math.exp(-i / 4) for i in range(150)]) == []
    assert spreads([0.5 * math.exp(x) for x in noise(200, 0.5)]) == []
    # Seen in healthy runs: alike for two or three readings early on.
    assert spreads([0.121, 0.244, 0.171, 0.04, 0.004, 0.009, 0.096, 0.116, *[0.2] * 30]) == []


def test_the_threshold_is_the_lower_of_the_two():
    assert spreads([0.15] * 30 + [0.001] * 20)[0].threshold == pytest.approx(0.005)


def test_all_the_same_is_the_end_of_it_and_readings_may_be_ten_steps_apart():
    found = spreads([0.6] * 30 + [0.0] * 20, range(0, 500, 10))
    assert (found[0].step, found[0].since) == (330, 310)


def test_a_state_taken_up_goes_on_as_if_unbroken():
    series = records({SPREAD: [0.6] * 30 + [0.005] * 20})
    first, second = RankCollapse(), RankCollapse()
    run(first, series[:33])
    second.load_state_dict(first.state_dict())
    assert [str(f) for f in run(second, series[33:])] == [str(f) for f in run(first, series[33:])] != []
