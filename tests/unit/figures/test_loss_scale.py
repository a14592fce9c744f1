"""Which axis a loss gets."""

import math

import numpy as np
import pytest

from stabilitykit.figures.loss_scale import loss_scale


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([3.0, 2.5, 4.0], False),
        ([11.0, 3.0], False),
        ([11.0, 0.3], True),
        ([5.0, 1e-6, 1e4], True),
        ([5.0, 0.0, 0.01], True),
        ([-5.0, 0.1, 20.0], False),
        ([3.0, 1e12], True),
        ([0.0, 0.0], False),
        ([7.0], False),
        ([], False),
        ([math.nan, math.inf], False),
    ],
)
def test_the_range_chooses(values, log):
    scale = loss_scale(np.array(values))
    assert scale.log is log
    assert scale.high > scale.low
    assert math.isfinite(scale.high)
    assert math.isfinite(scale.low)
    assert len(scale.ticks()) >= 2
    for value in values:
        if math.isfinite(value) and value != 0 and value < 1e9:
            assert scale.low < value < scale.high


def test_one_absurd_value_does_not_flatten_the_others():
    usual = np.linspace(2.0, 3.0, 100)
    for absurd in (1e30, 1e308):
        scale = loss_scale(np.append(usual, absurd))
        assert scale.high < 1e12
    scale = loss_scale(np.append(usual - 2.5, 1e30))
    assert not scale.log
    assert scale.high < 30


def test_values_without_bulk_are_all_shown():
    assert loss_scale(np.array([2.0] * 50 + [-9.0])).low < -9
