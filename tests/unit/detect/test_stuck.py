"""A loss parked at the unigram distribution: when it is said, and of whom it is not."""

import math

import pytest

from stabilitykit.detect.stuck import Stuck
from stabilitykit.records import Severity, StepRecord

from .conftest import LOSS, UNIGRAM, falling, losses, noise, records, run, steps, with_values

BATCHES = [3.0 + x for x in noise(200, 0.4)]


def excesses(values, batches=BATCHES, detector=None):
    loss = [batch + value for batch, value in zip(batches, values, strict=False)]
    return losses(detector or Stuck(), loss, batches[: len(loss)])


def test_forty_records_at_the_unigram_distribution_are_stuck():
    found = excesses([0.02] * 100)
    assert steps(found) == list(range(39, 100))
    assert {finding.since for finding in found} == {0}
    first = found[0]
    assert (first.kind, first.site, first.severity) == ("stuck", LOSS, Severity.WARNING)
    assert first.value == pytest.approx(BATCHES[39] + 0.02, abs=1e-6)
    assert first.threshold == pytest.approx(BATCHES[39] - 0.1, abs=1e-6)
    assert "0.02 nat above" in first.message
    assert "0.04 nat below" in excesses([-0.04] * 60)[0].message


def test_the_batches_noise_does_not_hide_it():
    assert steps(excesses([0.02 + x for x in noise(100, 0.08)]))[0] == 39


@pytest.mark.parametrize(("loss", "found"), [(-0.09, True), (-0.11, False)])
def test_who_has_learned_more_than_frequencies_is_not(loss, found):
    assert bool(excesses([loss] * 100)) is found


@pytest.mark.parametrize(("slope", "found"), [(0.002, True), (0.003, False)])
def test_who_makes_progress_is_not(slope, found):
    # From one half of the window to the other: twenty records, 0.04 or 0.06 nat.
    assert bool(excesses([1.0 - slope * i for i in range(100)])) is found


def test_it_ends_when_more_is_learned_and_does_not_flicker_before():
    parked = [0.0] * 60
    assert steps(excesses(parked + [-0.12] * 60))[-1] == 119
    back = excesses(parked + [-0.2] * 60)
    # The median of seven follows after four records.
    assert steps(back)[-1] == 62
    again = excesses(parked + [-0.2] * 20 + [0.0] * 80)
    assert sorted({finding.since for finding in again}) == [0, 83]
    assert [step for step in steps(again) if step > 62] == list(range(122, 160))


@pytest.mark.parametrize(
    ("first", "since"),
    [
        ([0.31] * 20, 23),
        ([0.29] * 20, 0),
        ([0.31] * 5 + [-0.12] * 9 + [0.31] * 6, 23),
        ([0.31] * 60, 0),
        ([0.28] * 10 + [0.35] * 10, 23),
    ],
)
def test_since_is_when_the_loss_came_near_the_unigram_distribution(first, since):
    # The window of forty holds steps of the fall too; a median of seven is three records behind.
    found = excesses(first + [0.28] * 40)
    assert found[0].since == since


@pytest.mark.parametrize(
    "healthy",
    [
        [x + y for x, y in zip(falling(200, 5.0, -1.0, 8.0), noise(200, 0.1), strict=True)],
        falling(200, 2.0, -0.5, 60.0),
        [-0.8] * 200,
        [0.0] * 30,
        [math.nan] * 100,
        [],
    ],
    ids=["fast", "slow", "constant", "30 steps", "all NaN", "empty"],
)
def test_it_is_silent_on_healthy_losses(healthy):
    assert excesses(healthy) == []


def test_without_unigram_cross_entropy_it_says_nothing():
    assert losses(Stuck(), [3.0] * 200) == []
    assert losses(Stuck(), [3.0] * 200, [None if i % 10 else 3.0 for i in range(200)]) == []


def test_only_records_with_both_count_and_since_is_one_of_them():
    sparse = [None if i % 10 else 3.0 for i in range(600)]
    found = run(Stuck(), records({LOSS: [3.0] * 600, UNIGRAM: sparse}, range(7, 607)))
    assert steps(found)[:2] == [397, 407]
    assert {finding.since for finding in found} == {7}


def test_with_gaps_between_steps_since_is_where_the_window_began():
    found = run(Stuck(), records({LOSS: [3.0] * 60, UNIGRAM: [3.0] * 60}, range(100, 700, 10)))
    assert steps(found)[0] == 490
    assert {finding.since for finding in found} == {100}
    progress = [3.5 - 0.01 * i for i in range(50)]
    loss = progress + [3.0] * 50
    later = run(Stuck(), records({LOSS: loss, UNIGRAM: [3.0] * 100}, range(0, 1000, 10)))
    assert later[0].since == later[0].step - 390
    assert later[0].since > 0


@pytest.mark.parametrize("where", ["loss", "unigram"])
def test_what_is_no_number_is_passed_over(where):
    holes = dict.fromkeys((5, 20, 21, 22, 50), math.nan)
    flat = [3.0] * 100
    holed = with_values(flat, holes)
    found = losses(Stuck(), holed, flat) if where == "loss" else losses(Stuck(), flat, holed)
    assert steps(found) == [step for step in range(43, 100) if step not in holes]
    assert {finding.since for finding in found} == {0}


def test_a_z_loss_in_the_loss_does_not_hide_that_it_is_parked() -> None:
    detector = Stuck()
    found = []
    for step in range(60):
        readings = {"train/loss": 4.2, "train/cross_entropy": 3.2, "train/unigram_cross_entropy": 3.2}
        found.append(detector.update(StepRecord.of(step, readings)))
    assert found[-1]
    assert "0 nat" in found[-1][0].message
