"""log Z that stands far from where it began."""

import json
import math

import pytest

from stabilitykit.detect.output_logit_drift import OutputLogitDrift

from .conftest import noise, records, run, steps

LOG_Z = "output/log_z"


def drifts(values):
    return run(OutputLogitDrift(), records({LOG_Z: values}))


@pytest.mark.parametrize("sign", [1, -1])
def test_ten_nats_from_the_first_level_are_told_on_either_side(sign):
    found = drifts([5.5] * 40 + [5.5 + sign * 11] * 30)
    assert steps(found) == list(range(44, 70))
    assert found[0].value == pytest.approx(5.5 + sign * 11)
    assert found[0].threshold == pytest.approx(5.5 + sign * 10)
    assert found[0].since == 42
    assert drifts([5.5] * 40 + [5.5 + sign * 9.9] * 300) == []


@pytest.mark.parametrize("sign", [1, -1])
def test_a_slow_drift_is_one_as_well_and_lasts_until_it_comes_back(sign):
    found = drifts([5.5 + sign * 0.02 * i for i in range(1000)] + [5.5] * 50)
    assert steps(found) == list(range(505, 1002))


def test_the_first_level_is_kept_with_the_state():
    series = records({LOG_Z: [5.5] * 30 + [-9.0] * 30})
    first, second = OutputLogitDrift(), OutputLogitDrift()
    run(first, series[:33])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert run(second, series[33:]) == run(first, series[33:]) != []


@pytest.mark.parametrize(
    "healthy",
    [
        [5.5 + x for x in noise(300, 4.0)],
        [5.7] + [26.0] * 5 + [7.0] * 100,
        [math.nan] * 40,
        [math.inf if i % 3 == 0 else 5.0 for i in range(60)],
    ],
    ids=["noise", "a jump of the first steps", "no number", "holes"],
)
def test_what_is_nothing(healthy):
    assert drifts(healthy) == []
