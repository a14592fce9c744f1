"""The gradient norm beside a high loss: ordinary at a hard batch, and out where a step did harm."""

import json
import math

import numpy as np
import pytest

from stabilitykit.detect.loss_spike import LossSpike
from stabilitykit.detect.witness import GradientWitness
from stabilitykit.records import Severity, StepRecord

from .conftest import LOSS, noise, records, run, with_values

NORM = "optim/grad_norm"
N, AT = 100, 60
LOSSES = [3 + x for x in noise(N, 0.1)]
NORMS = [float(x) for x in np.random.default_rng(0).lognormal(0.0, 0.2, N)]


def found(losses, norms, steps=None):
    """Return the steps and severities of what is said of losses beside gradient norms."""
    columns = {LOSS: losses} if norms is None else {LOSS: losses, NORM: norms}
    return [(f.step, f.since, f.severity) for f in run(LossSpike(), records(columns, steps))]


def bumped(*heights):
    return with_values(LOSSES, {AT + k: 3.0 + height for k, height in enumerate(heights)})


def test_a_single_high_loss_beside_an_ordinary_gradient_is_evidence_only():
    (finding,) = run(LossSpike(), records({LOSS: bumped(9.0), NORM: NORMS}))
    assert (finding.step, finding.severity) == (AT, Severity.INFO)
    assert "gradient norm is ordinary" in finding.message
    assert found(bumped(9.0), None) == [(AT, AT, Severity.CRITICAL)]


@pytest.mark.parametrize("at", [AT - 1, AT])
@pytest.mark.parametrize("norm", [5.0, math.inf, math.nan])
def test_it_is_an_alarm_where_the_gradient_is_out_at_that_step_or_the_one_before(at, norm):
    assert found(bumped(9.0), with_values(NORMS, {at: norm})) == [(AT, AT, Severity.CRITICAL)]


def test_a_gradient_that_was_large_two_steps_before_has_nothing_to_do_with_it():
    assert found(bumped(9.0), with_values(NORMS, {AT - 2: 5.0})) == [(AT, AT, Severity.INFO)]


def test_a_loss_that_stays_high_is_an_alarm_whatever_the_gradient():
    assert found(bumped(9.0, 9.0, 9.0), NORMS) == [
        (AT, AT, Severity.INFO),
        (AT + 1, AT, Severity.CRITICAL),
        (AT + 2, AT, Severity.CRITICAL),
    ]


def test_a_loss_that_is_not_back_within_half_of_the_limit_is_an_alarm():
    (first,) = run(LossSpike(), records({LOSS: bumped(9.0), NORM: NORMS}))
    half = (first.threshold - 3.0) / 2
    assert found(bumped(9.0, 0.8 * half), NORMS) == [(AT, AT, Severity.INFO)]
    assert found(bumped(9.0, 1.3 * half), NORMS) == [
        (AT, AT, Severity.INFO),
        (AT + 1, AT, Severity.WARNING),
    ]
    # One step later it says nothing of the first.
    assert found(bumped(9.0, 0.0, 1.3 * half), NORMS) == [(AT, AT, Severity.INFO)]


def test_a_norm_of_another_step_is_no_witness():
    alarm = [(10 * AT, 10 * AT, Severity.CRITICAL)]
    assert found(bumped(9.0), NORMS, range(0, 10 * N, 10)) == alarm
    holes = [norm if i % 10 == 0 else None for i, norm in enumerate(NORMS)]
    assert found(bumped(9.0), holes) == [(AT, AT, Severity.CRITICAL)]


@pytest.mark.parametrize(
    "norms",
    [
        [1.0] * N,
        [1.0 + 0.005 * x for x in noise(N)],
        with_values([min(norm, 1.2) for norm in NORMS], {AT: 1.2}),
        [0.0] * N,
    ],
    ids=["constant", "normalised", "clipped", "zero"],
)
def test_a_norm_that_something_holds_in_place_is_no_witness(norms):
    assert found(bumped(9.0), norms) == [(AT, AT, Severity.CRITICAL)]


def test_the_largest_norm_so_far_is_no_clipped_one():
    largest = max(NORMS[:AT])
    assert found(bumped(9.0), with_values(NORMS, {AT: 1.01 * largest})) == [(AT, AT, Severity.INFO)]


def test_norms_over_all_of_float32_do_no_harm():
    norms = [10.0 ** (30 * (-1) ** i) * norm for i, norm in enumerate(NORMS)]
    assert found(bumped(9.0), norms) == [(AT, AT, Severity.INFO)]
    assert found(bumped(9.0), with_values(norms, {AT: -1.0})) == [(AT, AT, Severity.CRITICAL)]


def test_steps_without_a_gradient_are_no_part_of_what_is_usual():
    norms = [norm if i % 3 == 0 else 0.0 for i, norm in enumerate(NORMS)]
    assert found(bumped(9.0), norms) == [(AT, AT, Severity.INFO)]
    assert found(bumped(9.0), with_values(norms, {AT: 5.0})) == [(AT, AT, Severity.CRITICAL)]


@pytest.mark.parametrize(("n", "calm"), [(16, False), (17, True)])
def test_it_knows_what_is_ordinary_after_sixteen_steps(n, calm):
    witness = GradientWitness()
    for step in range(n):
        witness.push(StepRecord.of(step, {NORM: NORMS[step]}))
    assert witness.is_calm() is calm


@pytest.mark.parametrize("changes", [{}, {AT - 1: 5.0}], ids=["calm", "out"])
@pytest.mark.parametrize("cut", [AT, AT + 1])
def test_it_is_the_same_after_a_restart(changes, cut):
    (first,) = run(LossSpike(), records({LOSS: bumped(9.0), NORM: NORMS}))
    lasting = bumped(9.0, 0.65 * (first.threshold - 3.0))
    whole = records({LOSS: lasting, NORM: with_values(NORMS, changes)})
    before, after = LossSpike(), LossSpike()
    said = run(before, whole[:cut])
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert said + run(after, whole[cut:]) == run(LossSpike(), whole)
