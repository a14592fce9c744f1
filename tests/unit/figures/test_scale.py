"""Scales, ticks and labels of figures."""

import numpy as np
import pytest

from stabilitykit.figures import Scale, colours, step_ticks
from stabilitykit.figures.scale import labels, round_values


def test_spans_the_finite_values_only():
    scale = Scale.of(np.array([np.nan, 2.0, np.inf, 6.0, -np.inf]))
    assert (scale.low, scale.high) == (2.0, 6.0)
    np.testing.assert_allclose(scale.fraction(np.array([2.0, 4.0, 6.0])), [0, 0.5, 1])


def test_a_logarithmic_scale_passes_over_what_is_not_positive():
    scale = Scale.of(np.array([0.0, -1.0, 1e-4, 1.0]), log=True)
    assert (scale.low, scale.high) == (1e-4, 1.0)
    np.testing.assert_allclose(scale.fraction(np.array([0.0, -1.0, 1e-2, 1.0])), [0, 0, 0.5, 1], atol=1e-12)


def test_one_tiny_value_does_not_flatten_the_rest():
    scale = Scale.of(np.array([1e-38, 0.5, 1.0]), log=True)
    assert scale.low == pytest.approx(1e-12)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[3.0, 3.0], [], [np.nan], [0.0], [-2.0]])
def test_has_a_width_whatever_the_values(values: list[float], log: bool):
    scale = Scale.of(np.array(values), log)
    assert scale.low < scale.high
    assert len({text for _, text in scale.ticks()}) >= 2


@pytest.mark.parametrize(
    ("low", "high"), [(1e-9, 1.0), (0.2, 0.9), (0.05, 20), (1.0, 1.3), (1e-30, 1e-20), (3.1, 3.2)]
)
def test_ticks_of_a_logarithmic_scale_are_few_and_inside(low: float, high: float):
    ticks = Scale(low, high, log=True).ticks()
    assert 2 <= len(ticks) <= 10
    assert all(low * 0.999 <= value <= high * 1.001 for value, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


def test_round_values_are_multiples_of_a_round_step():
    assert round_values(0, 10) == [0, 2, 4, 6, 8, 10]
    np.testing.assert_allclose(round_values(0.013, 0.049), [0.02, 0.03, 0.04])


def test_step_ticks_are_whole_and_end_before_the_end():
    assert step_ticks(0, 600) == [0, 100, 200, 300, 400, 500]
    assert step_ticks(0, 3) == [0, 1, 2]
    assert step_ticks(7, 7) == [7]


def test_labels_keep_numbers_apart():
    assert labels([1.0001, 1.0002]) == ["1.0001", "1.0002"]
    assert labels([1e-7, 0.5]) == ["1e-07", "0.5"]


def test_colours_run_from_dark_to_light():
    picked = colours(np.array([0.0, 0.5, 1.0, -3.0, 7.0, np.nan])).tolist()
    assert picked[0] == [0x44, 0x01, 0x54]
    assert picked[2] == [0xFD, 0xE7, 0x25]
    assert picked[3:] == [picked[0], picked[2], picked[0]]
    brightness = colours(np.linspace(0, 1, 50)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness) > 0).all()
