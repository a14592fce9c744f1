"""What is no number: named in the order of a step's flow, with its own beginning."""

import math

import numpy as np
import pytest

from stabilitykit.detect.nonfinite import NonFinite
from stabilitykit.records import Severity, StepRecord

from .conftest import LOSS, records, run, steps

RMS = [f"act/rms/blocks.{i:02d}.resid_post" for i in range(12)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_any_reading_that_is_no_number_is_critical_at_once(bad):
    found = run(NonFinite(), records({LOSS: [1.0, 2.0, bad, 2.0]}))
    assert len(found) == 1
    assert (found[0].kind, found[0].site, found[0].step, found[0].since) == ("nonfinite", LOSS, 2, 2)
    assert found[0].severity is Severity.CRITICAL
    assert str(found[0].value) == str(bad)
    assert found[0].message == f"train/loss is {bad}"
    assert found[0].threshold == float(np.finfo(np.float32).max)


def test_at_step_0_too():
    assert steps(run(NonFinite(), records({LOSS: [math.nan, 1.0]}))) == [0]


def test_finite_numbers_of_any_size_are_none():
    assert run(NonFinite(), records({LOSS: [3e38, -3e38, 0.0, 1e-45]})) == []


def test_the_first_of_the_flow_comes_first_whatever_the_order_of_the_tags():
    flow = [
        "act/rms/blocks.00.resid_post",
        "act/rms/blocks.01.resid_post",
        "attn/entropy/blocks.00",
        "output/log_z",
        "train/loss",
        "optim/grad_norm",
        "grad/share/blocks.00",
        "optim/update_ratio/blocks.00",
        "norm/gain_rms/final",
    ][: NonFinite.LISTED]
    for turn in range(len(flow)):
        # Sites of one family keep the record's order: turning must not part these two.
        turned = flow[turn:] + flow[:turn] if turn != 1 else flow[2:] + flow[:2]
        found = NonFinite().update(StepRecord.of(0, dict.fromkeys(turned, math.nan)))
        sites = [finding.message.split()[0] for finding in found]
        assert sites == flow


def test_one_site_does_not_disturb_the_other():
    found = run(NonFinite(), records({RMS[0]: [1.0, 1.0, 1.0], RMS[1]: [1.0, math.inf, 1.0]}))
    assert [(finding.site, finding.step) for finding in found] == [("blocks.01.resid_post", 1)]


def test_since_is_the_first_of_a_stretch_per_site():
    nan = math.nan
    found = run(NonFinite(), records({RMS[0]: [nan, nan, 1.0, nan], RMS[1]: [1.0, nan, nan, nan]}))
    assert [(f.site[:9], f.step, f.since) for f in found] == [
        ("blocks.00", 0, 0),
        ("blocks.00", 1, 0),
        ("blocks.01", 1, 1),
        ("blocks.01", 2, 1),
        ("blocks.00", 3, 3),
        ("blocks.01", 3, 1),
    ]


def test_a_record_in_which_all_is_well_ends_a_stretch():
    found = run(NonFinite(), records({LOSS: [math.nan, math.nan, 1.0, math.nan]}))
    assert [(finding.step, finding.since) for finding in found] == [(0, 0), (1, 0), (3, 3)]


def test_few_are_listed_and_the_others_are_not_forgotten():
    all_bad = dict.fromkeys(RMS, math.nan)
    detector = NonFinite()
    first = detector.update(StepRecord.of(4, all_bad))
    assert [finding.site[:9] for finding in first] == [f"blocks.{i:02d}" for i in range(8)]
    second = detector.update(StepRecord.of(5, all_bad | dict.fromkeys(RMS[:8], 1.0)))
    assert [(finding.site[:9], finding.since) for finding in second] == [
        (f"blocks.{i:02d}", 4) for i in range(8, 12)
    ]


def test_sites_that_come_and_go_and_gaps_between_steps():
    nan = math.nan
    series = records({RMS[0]: [1.0, None, nan, None], RMS[1]: [None, nan, 1.0, None]}, [0, 10, 20, 30])
    found = run(NonFinite(), series)
    assert [(finding.site[:9], finding.step) for finding in found] == [("blocks.01", 10), ("blocks.00", 20)]


def test_a_learning_rate_that_the_log_does_not_know_is_no_alarm():
    found = run(NonFinite(), records({LOSS: [3.0] * 3, "optim/lr": [1e-3, math.nan, math.nan]}))
    assert [(f.site, f.step, f.severity) for f in found] == [("optim/lr", 1, Severity.INFO)]
