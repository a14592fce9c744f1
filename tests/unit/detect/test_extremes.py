"""The limit of the maximum over sites: before it is known, with events and without, for any noise."""

import json
import math
import random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stabilitykit.detect.extremes import Extremes


def extremes(**changes):
    return Extremes(**({"block": 4, "blocks": 32, "spare": 16, "stretch": 4.0, "before": 7.0} | changes))


def fed(scores, **changes):
    calibration = extremes(**changes)
    for score in scores:
        calibration.push(score)
    return calibration


def test_before_four_blocks_beside_the_newest_are_known_the_limit_is_that_of_the_start():
    assert fed([0.5] * 19).limit == 7.0
    assert fed([0.5] * 20).limit == 1.0
    assert fed([2.0] * 20).limit == 2.0


def test_it_extrapolates_from_the_median_block_beyond_the_largest_ones():
    blocks = [1.0, 1.0, 1.0, 1.5, 99.0]
    assert fed([x for b in blocks for x in (0.1, b, 0.2, 0.3)]).limit == pytest.approx(1 + 4 * 0.5)


def test_an_event_raises_nothing_where_much_is_known_and_is_forgotten():
    quiet = [0.5] * 4 * 40
    assert fed([*quiet, *[9.0] * 8, *quiet[:40]]).limit == 1.0
    assert fed([*quiet, *[9.0] * 16, *quiet[:40]]).limit > 30
    assert fed([*quiet, *[9.0] * 16, *quiet]).limit == 1.0


def test_the_newest_block_does_not_count():
    assert fed([0.5] * 20 + [9.0] * 4).limit == 1.0
    assert fed([0.5] * 20 + [9.0] * 8).limit > 9.0


def test_what_is_no_number_is_no_score():
    assert fed([float("nan")] * 40).limit == 1.0


@given(st.lists(st.floats(0, 100), max_size=120), st.integers(0, 120))
def test_it_survives_json_at_any_cut(scores, cut):
    whole, broken = fed(scores), fed(scores[:cut])
    resumed = fed([3.0] * 50)
    resumed.load_state_dict(json.loads(json.dumps(broken.state_dict())))
    for score in scores[cut:]:
        resumed.push(score)
    assert (resumed.limit, resumed.state_dict()) == (whole.limit, whole.state_dict())


@pytest.mark.parametrize("law", ["gauss", "lognormal", "pareto"])
def test_the_rate_of_exceedances_hardly_depends_on_the_number_of_sites(law):
    """The maximum of n independent sites is drawn at once, as the n-th root of a uniform number."""
    draw = random.Random(5)
    gauss = NormalDist().inv_cdf
    quantile = {
        "gauss": gauss,
        "lognormal": lambda u: math.exp(0.5 * gauss(u)),
        "pareto": lambda u: (1 - u) ** (-1 / 3),
    }[law]
    for sites in (1, 100, 10_000):
        calibration, beyond = extremes(before=math.inf), 0
        for _ in range(3000):
            score = quantile(min(draw.random() ** (1 / sites), 1 - 1e-15)) / 2
            beyond += score > calibration.limit
            calibration.push(score)
        assert beyond <= 9, sites
