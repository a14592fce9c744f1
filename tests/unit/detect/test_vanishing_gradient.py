"""A block that is starved of gradient: four conditions together."""

import math

import pytest

from stabilitykit.detect.vanishing_gradient import VanishingGradient
from stabilitykit.records import Severity

from .conftest import noise, records, run, steps


def shares(*columns, sites=None):
    names = sites or [f"blocks.{i:02d}" for i in range(len(columns))]
    tags = [f"grad/share/{name}" for name in names]
    return run(VanishingGradient(), records(dict(zip(tags, columns, strict=True))))


def step_to(value, before=0.4, at=40, n=80):
    return [before] * at + [value] * (n - at)


FULL = [0.6] * 80


def test_a_block_that_starves_is_told_in_the_third_record_with_its_beginning():
    found = shares(step_to(0.005), FULL)
    assert steps(found) == list(range(44, 80))
    for finding in found:
        assert (finding.kind, finding.site, finding.since) == ("vanishing_gradient", "blocks.00", 42)
        assert finding.severity is Severity.WARNING
        assert finding.value == pytest.approx(0.005)
        assert finding.threshold == pytest.approx(0.01)
    assert found[0].message.startswith("blocks.00 gets 0.005 of the gradient, 80 times less than before")


@pytest.mark.parametrize(("share", "severity"), [(0.0011, Severity.WARNING), (0.0009, Severity.CRITICAL)])
def test_a_tenth_of_the_limit_is_critical(share, severity):
    assert {finding.severity for finding in shares(step_to(share), FULL)} == {severity}


@pytest.mark.parametrize(
    "columns",
    [
        # Fallen, and far behind, but not small.
        (step_to(0.015), FULL),
        # Small and far behind, but it was so before.
        ([0.005] * 80, FULL),
        (step_to(0.005, before=0.02), FULL),
        # Fallen and small, but no block gets much more.
        (step_to(0.005), step_to(0.1)),
        # Rising.
        (step_to(0.4, before=0.001), FULL),
    ],
)
def test_all_but_one_of_the_conditions_are_ordinary(columns):
    assert shares(*columns) == []


def test_blocks_of_a_deep_healthy_model_fall_together():
    wobble = noise(80, 0.3)
    together = [
        [0.3 * math.exp(-0.15 * min(i, 40) + wobble[(7 * i + k) % 80]) for i in range(80)] for k in range(24)
    ]
    assert min(together[0]) < 0.001
    assert shares(*together) == []
    # With one that keeps its share, the same fall is an alarm.
    assert {finding.site for finding in shares(*together[:3], FULL)} == {f"blocks.{k:02d}" for k in range(3)}


def test_only_blocks_are_judged_and_compared():
    sites = ["embed", "blocks.00", "final_norm", "head"]
    assert shares(step_to(0.001), [0.3] * 80, step_to(1e-5), [0.9] * 80, sites=sites) == []
    # The head's share is no measure of what a block should get.
    assert shares([0.1] * 80, step_to(0.005, before=0.1), [0.1] * 80, [0.99] * 80, sites=sites) == []


def test_a_share_of_exactly_nothing_is_the_worst_of_all():
    found = shares(step_to(0.0), FULL)
    assert steps(found) == list(range(44, 80))
    assert {finding.severity for finding in found} == {Severity.CRITICAL}
    assert all(0 < finding.value < 1e-9 for finding in found)
    # Parameters that are frozen, or begin at zero, have not starved.
    assert shares([0.0] * 80, FULL) == []
    assert shares([0.0] * 30 + [0.4] * 50, FULL) == []


def test_long_starvation_never_becomes_the_usual():
    found = shares(step_to(1e-4, n=600), [0.6] * 600)
    assert steps(found) == list(range(44, 600))
    assert {finding.since for finding in found} == {42}
    assert len({finding.threshold for finding in found}) == 1


def test_it_ends_when_the_block_learns_again():
    found = shares([0.4] * 40 + [0.001] * 20 + [0.3] * 60, [0.6] * 120)
    assert steps(found) == list(range(44, 62))


def test_one_step_without_gradient_is_nothing():
    dropped = [0.0 if i % 12 in (5, 6) else 0.4 for i in range(80)]
    assert shares(dropped, FULL) == []


def test_steps_without_a_number_neither_alarm_nor_end_it():
    holes = [math.nan if i in (20, 21, 50, 51) else x for i, x in enumerate(step_to(0.005))]
    every = [math.nan if i in (20, 21, 50, 51) else 0.6 for i in range(80)]
    found = shares(holes, every)
    assert steps(found) == list(range(44, 80))
    assert shares([math.nan] * 80, [math.nan] * 80) == []


def test_the_first_of_several_blocks_comes_first():
    found = shares(step_to(0.001, at=43), step_to(0.001, at=40), FULL)
    assert found[0].site == "blocks.01"
    assert [finding.site for finding in found if finding.step == 70] == ["blocks.01", "blocks.00"]


def test_an_encoder_is_not_compared_with_its_decoder():
    sites = ["encoder.blocks.00", "encoder.blocks.01", "decoder.blocks.00"]
    assert shares(step_to(0.005), step_to(0.004), FULL, sites=sites) == []
    # Within a stack it is.
    alarms = shares(step_to(0.005), FULL, FULL, sites=sites)
    assert {finding.site for finding in alarms} == {"encoder.blocks.00"}


@pytest.mark.parametrize(("rest", "found"), [(0.019, False), (0.021, True)])
def test_where_everything_is_learned_a_small_share_means_nothing(rest, found):
    columns = {"grad/share/blocks.00": step_to(0.005), "grad/share/blocks.01": FULL}
    columns["train/loss"] = [2.0] * 20 + [2.0 * rest] * 60
    assert bool(run(VanishingGradient(), records(columns))) is found
