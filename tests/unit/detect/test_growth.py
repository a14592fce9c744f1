"""Growth of a level within some records: the same rules for all kinds, and what each has of its own."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from stabilitykit.detect.activation_blow_up import ActivationBlowUp
from stabilitykit.detect.attention_logit_growth import AttentionLogitGrowth
from stabilitykit.detect.growth import Growth
from stabilitykit.detect.norm_gain_drift import NormGainDrift
from stabilitykit.records import Severity

from .conftest import noise, records, run, steps, with_values


@dataclass(frozen=True)
class Case:
    """A kind, a tag of its statistic, and what leaves its band."""

    make: Callable[[], Growth]
    tag: str
    site: str
    factor: float
    """What must be multiplied with to leave the band; below 1 for a fall."""
    severity: Severity = Severity.INFO

    def run(self, multiples, n_before=40):
        return run(self.make(), records({self.tag: [0.5] * n_before + [0.5 * x for x in multiples]}))


LINE = "act/rms/blocks.03.resid_post"
CASES = [
    Case(ActivationBlowUp, LINE, "blocks.03.resid_post", 50.0, Severity.WARNING),
    Case(ActivationBlowUp, "act/rms/blocks.03.mlp_out", "blocks.03.mlp_out", 10.0),
    Case(AttentionLogitGrowth, "attn/logit_max_bound/blocks.03", "blocks.03", 8.0),
    Case(NormGainDrift, "norm/gain_rms/blocks.03.attn_norm", "blocks.03.attn_norm", 1.5),
    Case(NormGainDrift, "norm/gain_rms/blocks.03.attn_norm", "blocks.03.attn_norm", 1 / 1.5),
]
every_kind = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.make.kind} at {case.site} x{case.factor:.2g}"
)


@every_kind
def test_a_step_in_the_level_is_out_from_the_median_on_and_told_in_the_third_record(case):
    found = case.run([case.factor**1.1] * 30)
    # The median of five follows in the third record; three of those in a row.
    assert steps(found) == list(range(44, 70))
    for finding in found:
        assert (finding.kind, finding.site, finding.since) == (case.make.kind, case.site, 42)
        assert finding.severity is case.severity
        assert finding.value == pytest.approx(0.5 * case.factor**1.1)
        assert finding.threshold == pytest.approx(0.5 * case.factor)
    assert case.site in found[0].message


@every_kind
def test_less_than_the_factor_and_the_other_direction_are_nothing(case):
    assert case.run([case.factor**0.95] * 60) == []
    if case.make is not NormGainDrift:
        assert case.run([case.factor**-3.0] * 30 + [case.factor**-6.0] * 30) == []


@every_kind
def test_a_level_must_hold_for_three_records(case):
    out = case.factor**1.5
    assert case.run([out] * 2 + [1.0] * 60) == []
    assert steps(case.run([out] * 3 + [1.0] * 60)) == [44]


@every_kind
def test_steady_growth_below_the_factor_per_lag_is_never_out(case):
    lag = case.make.LAG
    assert case.run([case.factor ** (i / (1.1 * lag)) for i in range(7 * lag)]) == []
    assert steps(case.run([case.factor ** (i / (0.9 * lag)) for i in range(3 * lag)])) != []


@every_kind
def test_it_is_armed_from_the_ninth_record_on(case):
    at_once = [case.factor**2 if i > 2 else 1.0 for i in range(30)]
    assert steps(case.run(at_once, n_before=0))[0] == 10
    assert case.run(at_once[:10], n_before=0) == []


@every_kind
def test_while_out_it_is_compared_with_what_it_left_until_it_has_been_out_for_long(case):
    found = case.run([case.factor**2] * 300)
    assert steps(found) == list(range(44, 42 + Growth.FORGET))
    assert {finding.since for finding in found} == {42}
    assert {finding.threshold for finding in found} == {found[0].threshold}
    again = case.run([case.factor**2] * 300 + [case.factor**4] * 10)
    assert steps(again)[-6:] == list(range(344, 350))
    assert again[-1].since == 342


@every_kind
def test_a_second_rise_while_out_has_the_same_limit(case):
    found = case.run([case.factor**1.2] * 30 + [case.factor**2] * 30)
    assert steps(found) == list(range(44, 100))
    assert {finding.threshold for finding in found} == {found[0].threshold}
    assert found[-1].value == pytest.approx(0.5 * case.factor**2)


@every_kind
def test_it_ends_when_the_level_comes_back(case):
    found = case.run([case.factor**1.5] * 30 + [1.0] * 100)
    # Where both directions are looked at, the way back is a second move.
    assert steps(f for f in found if f.since == 42) == list(range(44, 72))
    again = [case.factor**1.5] * 30 + [1.0] * 80 + [case.factor**1.5] * 9
    assert case.run(again)[-1].since == 152


@every_kind
@pytest.mark.parametrize("length", [3, 6, 9])
def test_coming_back_from_a_short_dip_is_no_growth(case, length):
    dip = [1.0] * 60 + [case.factor**-0.9] * 3 + [case.factor**-3.0] * length + [1.0] * 200
    found = [finding for finding in case.run(dip, n_before=0) if finding.step > 60 + 3 + length + 5]
    assert found == []


@every_kind
@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_what_is_no_number_or_was_not_read_is_no_part_of_it(case, bad):
    values = [0.5 * x for x in [1.0] * 40 + [case.factor**1.1] * 30]
    beside = case.tag + ".other"
    holes = with_values(values, dict.fromkeys((10, 30, 31, 50), bad))
    # A second site that is read at every step, so that a record without the first has a row.
    found = run(case.make(), records({case.tag: holes, beside: values}))
    ours = [finding for finding in found if not finding.site.endswith("other")]
    assert steps(ours) == list(range(44, 70))
    others = [(f.step, f.since, f.value) for f in found if f.site.endswith("other")]
    assert others == [(f.step, f.since, f.value) for f in run(case.make(), records({beside: values}))]
    assert len(others) == 26


@every_kind
def test_a_jump_right_after_a_gap_is_seen(case):
    holes = with_values([0.5] * 40 + [0.5 * case.factor**1.1] * 30, dict.fromkeys(range(37, 40), math.nan))
    assert steps(run(case.make(), records({case.tag: holes})))[0] in (42, 43)


@every_kind
def test_noisy_constant_and_short_series_are_healthy(case):
    band = abs(math.log(case.factor)) / 2
    assert case.run([math.exp(x) for x in noise(300, band)]) == []
    assert case.run([1.0] * 300) == []
    assert case.run([1.0] * 30, n_before=0) == []
    assert case.run([math.nan] * 60, n_before=0) == []


def test_the_first_site_to_leave_comes_first():
    tags = [f"act/rms/blocks.{i:02d}.resid_post" for i in range(3)]
    start = {tags[0]: 44, tags[1]: 40, tags[2]: 42}
    found = run(
        ActivationBlowUp(),
        records({tag: [1.0 if i < start[tag] else 90.0 for i in range(60)] for tag in tags}),
    )
    last = [finding.site for finding in found if finding.step == 59]
    assert last == ["blocks.01.resid_post", "blocks.02.resid_post", "blocks.00.resid_post"]
    assert found[0].site == "blocks.01.resid_post"


def test_a_site_that_appears_late_is_judged_by_its_own_past():
    tags = ("act/rms/blocks.00.resid_post", "act/rms/blocks.01.resid_post")
    late = [None] * 40 + [70.0] * 40 + [7000.0] * 20
    found = run(ActivationBlowUp(), records({tags[0]: [1.0] * 100, tags[1]: late}))
    assert [(f.site[:9], f.step, f.since) for f in found[:1]] == [("blocks.01", 84, 82)]
    assert [finding.threshold for finding in found] == pytest.approx([3500.0] * 16)


def test_readings_of_every_tenth_step_count_as_rows_of_their_own():
    sparse = [None if i % 10 else (1.0 if i < 400 else 90.0) for i in range(600)]
    found = run(ActivationBlowUp(), records({LINE: sparse, "train/loss": [3.0] * 600}))
    assert steps(found) == list(range(440, 600, 10))
    assert {finding.since for finding in found} == {420}


def test_the_limits_of_sites_come_with_the_state_that_is_taken_up():
    inside, line = "act/rms/blocks.03.mlp_out", LINE
    series = {line: [1.0] * 40 + [20.0] * 20, inside: [1.0] * 40 + [20.0] * 20}
    used, other = ActivationBlowUp(), ActivationBlowUp()
    run(used, records({inside: [1.0] * 30, line: [1.0] * 30}))
    run(other, records(series)[:30])
    used.load_state_dict(other.state_dict())
    assert {finding.site for finding in run(used, records(series)[30:])} == {"blocks.03.mlp_out"}


@pytest.mark.parametrize(
    ("site", "factor", "severity"),
    [
        ("blocks.00.resid_mid", 60, Severity.WARNING),
        ("blocks.11.resid_post", 60, Severity.WARNING),
        ("blocks.00.resid_pre", 60, Severity.INFO),
        ("blocks.00.attn_out", 60, Severity.INFO),
        ("embed", 60, Severity.INFO),
        ("blocks.00.resid_post", 40, None),
        ("blocks.00.mlp_norm_in", 12, Severity.INFO),
        ("blocks.00.mlp_norm_in", 9, None),
    ],
)
def test_blow_ups_alarm_on_the_residual_line_only(site, factor, severity):
    found = run(ActivationBlowUp(), records({f"act/rms/{site}": [1.0] * 40 + [factor] * 20}))
    assert {finding.severity for finding in found} == ({severity} if severity else set())


@pytest.mark.parametrize(("value", "severity"), [(8187.0, Severity.WARNING), (8189.0, Severity.CRITICAL)])
def test_blow_ups_are_critical_without_headroom_for_16_bits(value, severity):
    found = run(ActivationBlowUp(), records({LINE: [100.0] * 40 + [value] * 20}))
    assert {finding.severity for finding in found} == {severity}


def test_logit_messages_name_the_highest_mark_that_was_passed():
    def message(value):
        series = records({"attn/logit_max_bound/blocks.00": [5.0] * 40 + [value] * 9})
        return run(AttentionLogitGrowth(), series)[-1].message

    assert "beyond" not in message(99)
    assert message(150).endswith("beyond 100")
    assert message(2e4).endswith("beyond 10000")
