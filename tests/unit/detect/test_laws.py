"""What holds for every detector: past only, resumable at any record, sites apart, healthy runs left alone."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stabilitykit.detect import default_detectors
from stabilitykit.records import Finding, Severity, StepRecord

from .conftest import LOSS, UNIGRAM, falling, noise, records, run, with_values

KINDS = [detector.kind for detector in default_detectors()]
every_kind = pytest.mark.parametrize("kind", KINDS)
BLOCKS = ("blocks.00", "blocks.01", "blocks.02")
N = 120


def detector(kind):
    return next(each for each in default_detectors() if each.kind == kind)


def healthy(n=N, seed=3):
    """Return the columns of a run without incident, noisy as small batches are."""
    law = random.Random(seed)
    hard = noise(n, 0.5)
    columns = {}
    for k, block in enumerate(BLOCKS):
        growth = [(1 + 0.01 * i) * law.lognormvariate(0, 0.05) for i in range(n)]
        columns[f"act/rms/{block}.resid_post"] = growth
        columns[f"act/rms/{block}.mlp_out"] = [0.1 * x for x in growth]
        columns[f"attn/logit_max_bound/{block}"] = [3 * x * law.lognormvariate(0, 0.1) for x in growth]
        columns[f"attn/entropy/{block}"] = [0.9 / (1 + 0.01 * i) + law.gauss(0, 0.01) for i in range(n)]
        columns[f"grad/share/{block}"] = [0.57 * law.lognormvariate(0, 0.2) for _ in range(n)]
        columns[f"optim/update_ratio/{block}"] = [1e-3 * law.lognormvariate(0, 0.15) for _ in range(n)]
        columns[f"norm/gain_rms/{block}.attn_norm"] = [1 + 0.001 * i * (k + 1) for i in range(n)]
        columns[f"act/token_spread/{block}.resid_post"] = [0.5 * law.lognormvariate(0, 0.1) for _ in range(n)]
    columns["grad/share/embed"] = [1e-4 * law.lognormvariate(0, 0.2) for _ in range(n)]
    columns["output/log_z"] = [5 + 0.01 * i for i in range(n)]
    columns[LOSS] = [x + y + law.gauss(0, 0.03) for x, y in zip(falling(n), hard, strict=True)]
    columns[UNIGRAM] = [3.2 + y for y in hard]
    columns["optim/grad_norm"] = [law.lognormvariate(0, 0.3) for _ in range(n)]
    return columns


def eventful(n=N, seed=3):
    """Return the columns of a run in which every kind is found, with holes of both sorts."""
    columns = healthy(n, seed)
    parked = [x + 0.02 for x in columns[UNIGRAM][:50]] + columns[LOSS][50:]
    columns[LOSS] = with_values(parked, {60: 9.0, 61: math.nan, 63: 9.0} | dict.fromkeys(range(90, 102), 8.0))
    columns["optim/grad_norm"] = with_values(columns["optim/grad_norm"], {59: 400.0, 61: math.inf, 64: 300.0})
    columns["output/log_z"] = [x * (4 if i > 80 else 1) for i, x in enumerate(columns["output/log_z"])]
    for tag, at, factor in (
        ("act/rms/blocks.01.resid_post", 40, 300.0),
        ("act/rms/blocks.00.resid_post", 70, 80.0),
        ("act/rms/blocks.02.mlp_out", 30, 15.0),
        ("attn/logit_max_bound/blocks.02", 35, 20.0),
        ("attn/entropy/blocks.00", 38, 0.05),
        ("act/token_spread/blocks.01.resid_post", 55, 0.02),
        ("grad/share/blocks.00", 45, 0.001),
        ("grad/share/blocks.02", 85, 0.0),
        ("norm/gain_rms/blocks.02.attn_norm", 50, 2.0),
    ):
        columns[tag] = [x * factor if at <= i < at + 30 else x for i, x in enumerate(columns[tag])]
    ratio = "optim/update_ratio/blocks.01"
    columns[ratio] = with_values(columns[ratio], {58: 0.3, 62: 0.2})
    columns["act/rms/blocks.02.resid_post"][77:79] = [math.nan, math.inf]
    # Sites that come late, go for a while, and are read at every tenth step only.
    columns["act/rms/blocks.01.resid_post"][100:105] = [None] * 5
    columns["attn/entropy/blocks.01"][:25] = [None] * 25
    columns["norm/gain_rms/blocks.01.attn_norm"] = [
        x if i % 10 == 0 else None for i, x in enumerate(columns["norm/gain_rms/blocks.01.attn_norm"])
    ]
    return columns


def gapped(n=N):
    return [3 * i + (100 if i > 55 else 0) for i in range(n)]


EVENTFUL = records(eventful(), gapped())
HEALTHY = records(healthy())


@every_kind
def test_every_kind_is_found_in_the_eventful_run_and_none_in_the_healthy_one(kind):
    assert run(detector(kind), EVENTFUL)
    assert run(detector(kind), HEALTHY) == []


@every_kind
def test_no_kind_is_found_in_thirty_steps_or_in_constants(kind):
    assert run(detector(kind), HEALTHY[:30]) == []
    # Parked below the unigram distribution, so that nothing is stuck either.
    constant = {tag: [2.0] * 300 for tag in healthy(1)} | {UNIGRAM: [3.0] * 300}
    assert run(detector(kind), records(constant)) == []
    assert run(detector(kind), records({"some/thing": [1.0] * 60})) == []


@every_kind
def test_findings_are_well_formed(kind):
    taken = {record.step for record in EVENTFUL}
    for finding in run(detector(kind), EVENTFUL):
        assert finding.kind == kind
        assert finding.since <= finding.step
        assert {finding.since, finding.step} <= taken
        assert type(finding.value) is float
        assert type(finding.threshold) is float
        assert "\n" not in finding.message
        assert repr(Finding.from_json(json.loads(json.dumps(finding.to_json())))) == repr(finding)


@every_kind
def test_a_run_that_is_resumed_from_json_finds_the_same_forty_records_on(kind):
    whole, used = detector(kind), detector(kind)
    expected = [repr(whole.update(record)) for record in EVENTFUL]
    broken = detector(kind)
    for cut, record in enumerate(EVENTFUL):
        # At every third record; the next test resumes at all of them, and looks one record on.
        if cut % 3 == 0:
            # One that has run already takes up the state whole.
            resumed = used if cut % 2 else detector(kind)
            resumed.load_state_dict(json.loads(json.dumps(broken.state_dict())))
            found = [repr(resumed.update(each)) for each in EVENTFUL[cut : cut + 40]]
            assert found == expected[cut : cut + 40], cut
        broken.update(record)


@every_kind
def test_a_run_that_is_resumed_at_every_record_finds_the_same(kind):
    whole, broken = detector(kind), detector(kind)
    for record in EVENTFUL:
        resumed = detector(kind)
        resumed.load_state_dict(json.loads(json.dumps(broken.state_dict())))
        broken = resumed
        assert repr(broken.update(record)) == repr(whole.update(record))
    assert repr(broken.state_dict()) == repr(whole.state_dict())


@every_kind
def test_the_order_of_tags_does_not_matter(kind):
    turned = []
    for record in EVENTFUL:
        readings = list(record.readings.items())
        random.Random(record.step % 5).shuffle(readings)
        turned.append(StepRecord.of(record.step, dict(readings)))
    found = run(detector(kind), turned)
    assert sorted(map(repr, found)) == sorted(map(repr, run(detector(kind), EVENTFUL)))


# To ``nonfinite`` a record in which all is well is news: it ends a stretch.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nonfinite"])
def test_records_of_other_tags_in_between_change_nothing(kind):
    between = [x for r in EVENTFUL for x in (r, StepRecord.of(r.step + 1, {"optim/lr": 1e-3}))]
    assert run(detector(kind), between) == run(detector(kind), EVENTFUL)


values = st.one_of(st.floats(1e-6, 1e6), st.sampled_from([math.nan, math.inf, 0.0, -1.0]))


@st.composite
def runs(draw):
    """Return records of healthy columns with drawn values at drawn places, and a place to cut them at."""
    columns = healthy(80, draw(st.integers(0, 50)))
    for tag in draw(st.lists(st.sampled_from(sorted(columns)), max_size=6)):
        at, length = draw(st.integers(0, 79)), draw(st.integers(1, 30))
        value = draw(st.one_of(values, st.none()))
        columns[tag] = [value if at <= i < at + length else x for i, x in enumerate(columns[tag])]
    return columns, draw(st.integers(0, 79)), draw(st.sampled_from([0.0, 1e3, math.nan, None]))


@given(runs())
@settings(max_examples=25)
def test_findings_up_to_a_step_do_not_depend_on_what_comes_after(drawn):
    columns, cut, after = drawn
    whole = records(columns)
    other = records({tag: [*column[:cut], *[after] * (80 - cut)] for tag, column in columns.items()})
    for one, two, three in zip(default_detectors(), default_detectors(), default_detectors(), strict=True):
        found = [repr(one.update(record)) for record in whole]
        assert [repr(two.update(record)) for record in whole[:cut]] == found[:cut]
        assert [repr(three.update(record)) for record in other][:cut] == found[:cut]


@given(runs())
@settings(max_examples=25)
def test_sites_of_one_kind_do_not_disturb_each_other(drawn):
    columns, _, _ = drawn
    spoiled = columns | {
        tag: [math.nan if i % 2 else 1e30 for i in range(80)] for tag in columns if "blocks.02" in tag
    }
    # Later on the maximum over sites is calibrated by all of them.
    short, spoiled_short = records(columns)[:60], records(spoiled)[:60]
    for kind in ("activation_blow_up", "attention_logit_growth", "entropy_collapse", "norm_gain_drift"):
        before = [f for f in run(detector(kind), short) if "blocks.02" not in f.site]
        after = [f for f in run(detector(kind), spoiled_short) if "blocks.02" not in f.site]
        assert sorted(map(repr, after)) == sorted(map(repr, before))


@pytest.mark.parametrize("seed", range(4))
def test_no_alarm_in_longer_healthy_runs(seed):
    series = records(healthy(400, seed))
    found = [finding for each in default_detectors() for finding in run(each, series)]
    assert [finding for finding in found if finding.severity is not Severity.INFO] == []


@pytest.mark.parametrize(
    ("kind", "statistic"),
    # Shares, entropies, spreads and log Z have a scale of their own.
    [
        ("activation_blow_up", "act/rms"),
        ("attention_logit_growth", "attn/logit_max"),
        ("norm_gain_drift", "norm/gain_rms"),
        ("gradient_spike", "optim/grad_norm"),
        ("update_spike", "optim/update_ratio"),
    ],
)
@given(power=st.integers(-8, 8), seed=st.integers(0, 20))
@settings(max_examples=4)
def test_findings_of_a_positive_statistic_do_not_depend_on_its_unit(kind, statistic, power, seed):
    """Only the marks that tag a severity or end a message are absolute."""
    scale = 2.0**power
    columns = eventful(seed=seed)
    scaled = {
        tag: [None if x is None else scale * x for x in column] if tag.startswith(statistic) else column
        for tag, column in columns.items()
    }
    before, after = (run(detector(kind), records(each)) for each in (columns, scaled))
    assert before
    assert [(f.site, f.step, f.since) for f in after] == [(f.site, f.step, f.since) for f in before]
    assert [f.value for f in after] == pytest.approx([scale * f.value for f in before], nan_ok=True)
    assert [f.threshold for f in after] == pytest.approx([scale * f.threshold for f in before])


@given(runs())
@settings(max_examples=6)
def test_a_drawn_run_that_is_resumed_where_it_was_cut_finds_the_same(drawn):
    columns, cut, _ = drawn
    series = records(columns)
    for whole, broken, resumed in zip(
        default_detectors(), default_detectors(), default_detectors(), strict=True
    ):
        expected = [repr(whole.update(record)) for record in series]
        for record in series[:cut]:
            broken.update(record)
        resumed.load_state_dict(json.loads(json.dumps(broken.state_dict())))
        assert [repr(resumed.update(record)) for record in series[cut:]] == expected[cut:]


@given(runs(), st.integers(2, 50))
@settings(max_examples=5)
def test_windows_count_records_whatever_the_interval_between_steps(drawn, interval):
    columns, _, _ = drawn
    for one, other in zip(default_detectors(), default_detectors(), strict=True):
        # The gradient norm is a witness of the loss at its own step alone.
        unseen = "optim/grad_norm" if one.kind == "loss_spike" else ""
        seen = {tag: values for tag, values in columns.items() if tag != unseen}
        found = run(one, records(seen))
        spread = run(other, records(seen, range(0, 80 * interval, interval)))
        assert [(f.site, f.step, f.since) for f in spread] == [
            (f.site, f.step * interval, f.since * interval) for f in found
        ]
