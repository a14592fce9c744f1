"""The width of a loss's noise: robust, wider while little is known, and following what changes it."""

import json
import math

import numpy as np
import pytest

from stabilitykit.detect.noise import LossNoise

from .conftest import noise


def pushed(differences, level=3.0, into=None):
    known = LossNoise(7.0) if into is None else into
    for difference in differences:
        known.push_at(difference, level)
    return known


def sigma(values):
    return 1.4826 * np.median(np.abs(np.array(values) - np.median(values)))


def test_without_differences_nothing_is_known():
    assert math.isnan(LossNoise(7.0).limit_at(3.0))


def test_the_limit_is_seven_robust_widths():
    differences = noise(64, 0.2)
    assert pushed(differences).limit_at(3.0) == pytest.approx(7 * sigma(differences))


def test_few_differences_make_a_wider_limit():
    few, many = pushed([0.1, -0.1] * 4).limit_at(3.0), pushed([0.1, -0.1] * 32).limit_at(3.0)
    assert few == pytest.approx(many * (1 + 3 / 8))


def test_outliers_and_a_steady_fall_are_no_noise():
    plain = pushed(noise(64, 0.2)).limit_at(3.0)
    assert pushed([*noise(54, 0.2), *([50.0] * 10)]).limit_at(3.0) == pytest.approx(plain, rel=0.4)
    assert pushed([-0.5 + x for x in noise(64, 0.2)]).limit_at(3.0) == pytest.approx(plain)


def test_a_long_past_counts_as_far_as_the_last_differences_agree():
    quiet, loud = noise(192, 0.1), noise(64, 0.4)
    assert pushed(loud, into=pushed(quiet)).limit_at(9.0) == pytest.approx(pushed(loud).limit_at(9.0) / 1.2)
    louder = pushed(noise(192, 0.4))
    assert pushed(noise(64, 0.1), into=louder).limit_at(9.0) == pytest.approx(
        1.2 * pushed(noise(64, 0.1)).limit_at(9.0)
    )


def test_on_a_smooth_fall_noise_follows_the_level():
    known, level = LossNoise(7.0), 5.0
    for x in noise(64, 0.02):
        known.push_at(level * (x - 0.3), level)
        level *= 0.9
    assert known.limit_at(level) == pytest.approx(7 * sigma(noise(64, 0.02)) * level)
    # Where it is as large as the level itself, it is none that follows it.
    assert pushed([2.0, -2.0] * 32, 4.0).limit_at(0.1) == pytest.approx(7 * 1.4826 * 2.0)


def test_a_level_that_is_not_above_zero_has_no_share():
    assert pushed([0.1, -0.1] * 32, -3.0).limit_at(-3.0) == pytest.approx(7 * 1.4826 * 0.1)


@pytest.mark.parametrize("cut", [0, 5, 64, 300])
def test_its_state_survives_json_at_any_cut(cut):
    differences = noise(350, 0.2)
    whole, loaded = pushed(differences), LossNoise(7.0)
    loaded.load_state_dict(json.loads(json.dumps(pushed(differences[:cut]).state_dict())))
    assert pushed(differences[cut:], into=loaded).limit_at(3.0) == whole.limit_at(3.0)
