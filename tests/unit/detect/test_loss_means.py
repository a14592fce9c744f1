"""A run's final and best loss from means over blocks: exact in short runs, bounded in long ones."""

import json
import math

import numpy as np
import pytest

from stabilitykit.detect.loss_means import LossMeans


def whole(losses: np.ndarray) -> tuple[float, float]:
    """Return both numbers from all losses at once."""
    width = max(1, len(losses) // 20)
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    return float(losses[-width:].mean()), float(((sums[width:] - sums[:-width]) / width).min())


@pytest.mark.parametrize("steps", [2_047, 2_048, 5_000, 70_001])
def test_long_runs_are_within_a_thousandth_of_the_run(steps):
    losses = (
        np.random.default_rng(steps).normal(0.0, 0.3, steps) + 4.0 - 3.0 * np.sin(np.arange(steps) / 9_000)
    )
    means = LossMeans(losses)
    final, best = whole(losses)
    assert means.summary().final == pytest.approx(final, abs=0.05)
    assert means.summary().best == pytest.approx(best, abs=0.05)
    assert len(json.dumps(means.state_dict())) < 60_000


@pytest.mark.parametrize("steps", [0, 1, 30, 3_001])
def test_what_was_taken_up_goes_on_as_if_unbroken(steps):
    losses = np.random.default_rng(0).normal(3.0, 0.2, steps + 500).tolist()
    first, second = LossMeans(losses[:steps]), LossMeans()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for loss in losses[steps:]:
        second.push(loss)
    assert second.summary() == LossMeans(losses).summary()


def test_a_loss_that_is_no_number_spoils_its_block_alone():
    losses = [5.0] * 1_000 + [math.nan] + [3.0] * 4_000
    assert LossMeans(losses).summary().best == pytest.approx(3.0)
    assert LossMeans(losses).summary().final == pytest.approx(3.0)
    assert math.isnan(LossMeans([*losses, math.nan]).summary().final)
