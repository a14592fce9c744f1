"""Small runs, written as code, and exactly the incidents and verdicts they must end in."""

import math

import pytest

from stabilitykit.detect.diagnosis import Diagnosis

from .conftest import LOSS, UNIGRAM, falling, noise, records, with_values

N = 160
HARD = noise(N, 0.3)
UNI = [3.2 + x for x in HARD]
LEARNING = [x + y for x, y in zip(falling(N, 5.0, 2.0, 25.0), HARD, strict=True)]
NORM = [math.exp(0.3 * x) for x in noise(N)]
SHARE = "grad/share/blocks.{:02d}"
RMS = "act/rms/blocks.{:02d}.resid_post"


def trace(loss, **more):
    return {LOSS: loss, UNIGRAM: UNI, "optim/grad_norm": NORM} | more


def bumped(at):
    return [x + at.get(i, 0.0) for i, x in enumerate(LEARNING)]


CLEAN = trace(LEARNING)
SPIKE = trace(bumped({80: 2.0, 81: 1.2, 82: 0.6})) | {"optim/grad_norm": with_values(NORM, {80: 60.0})}
DOUBLE_SPIKE = trace(bumped({80: 2.0, 81: 1.2, 95: 1.5, 96: 3.0})) | {
    "optim/grad_norm": with_values(NORM, {80: 3.0, 95: 3.0})
}
HARD_BATCHES = trace(bumped({80: 2.0, 95: 3.0}))
LASTING_SPIKE = trace(bumped({80: 2.0, 81: 1.2}))
DIVERGENCE = trace(bumped({i: 0.02 * (i - 90) for i in range(90, N)}))
NAN_AT_0 = trace(with_values(LEARNING, {0: math.nan}))
NAN_IN_BETWEEN = trace(with_values(LEARNING, dict.fromkeys((70, 71), math.nan)))
NAN_FOR_GOOD = trace(with_values(LEARNING, dict.fromkeys(range(120, N), math.nan))) | {
    RMS.format(0): [1.0] * N,
    RMS.format(1): [1.0] * 90 + [1.5**i for i in range(30)] + [math.inf] * 40,
}
CONSTANT = {LOSS: [3.0] * N, "optim/grad_norm": [1.0] * N, RMS.format(0): [1.0] * N}
ALL_ZERO = {LOSS: [0.0] * N, "optim/grad_norm": [0.0] * N, SHARE.format(0): [0.0] * N}
STUCK = trace([u + max(0.01, 2 - 0.1 * i) for i, u in enumerate(UNI)]) | {
    SHARE.format(0): [0.5 * max(1e-5, math.exp(-0.4 * i)) for i in range(N)],
    SHARE.format(1): [0.8] * N,
}

GOLDEN = {
    "clean": (CLEAN, "stable", []),
    "spike and recovery": (SPIKE, "recovered", [("loss_spike", 80, 80, 80, 82, "critical")]),
    "double spike": (
        DOUBLE_SPIKE,
        "recovered",
        [("loss_spike", 80, 80, 80, 81, "critical"), ("loss_spike", 95, 95, 96, 96, "critical")],
    ),
    "hard batches": (HARD_BATCHES, "stable", []),
    "spike with an ordinary gradient": (
        LASTING_SPIKE,
        "recovered",
        [("loss_spike", 80, 81, 81, 81, "critical")],
    ),
    "slow divergence": (DIVERGENCE, "diverged", [("divergence", 128, 132, 158, None, "warning")]),
    "NaN at step 0": (NAN_AT_0, "recovered", [("nonfinite", 0, 0, 0, 0, "critical")]),
    "NaN in between": (NAN_IN_BETWEEN, "recovered", [("nonfinite", 70, 70, 70, 71, "critical")]),
    "NaN for good": (
        NAN_FOR_GOOD,
        "diverged",
        [
            ("activation_blow_up", 102, 104, 123, 123, "critical"),
            ("nonfinite", 120, 120, 120, None, "critical"),
        ],
    ),
    "constant": (CONSTANT, "stable", []),
    "all zero": (ALL_ZERO, "stable", []),
    "stuck": (
        STUCK,
        "stuck",
        [
            ("vanishing_gradient", 12, 14, 31, None, "critical"),
            ("stuck", 20, 52, 60, None, "warning"),
        ],
    ),
}


def diagnosed(columns):
    diagnosis = Diagnosis()
    for record in records(columns):
        diagnosis.update(record)
    return diagnosis


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_trace_ends_as_it_did(name):
    columns, outcome, incidents = GOLDEN[name]
    diagnosis = diagnosed(columns)
    found = [(i.kind, i.start, i.detected, i.peak, i.end, str(i.severity)) for i in diagnosis.incidents]
    assert found == incidents
    assert diagnosis.verdict().outcome == outcome


def test_what_left_its_band_first_is_named_as_evidence_and_as_cause():
    (spike,) = diagnosed(SPIKE).incidents
    assert [finding.kind for finding in spike.evidence] == ["loss_spike", "gradient_spike"]
    assert spike.causes == ("a gradient far larger than usual just before",)
    stuck = diagnosed(STUCK).incidents[1]
    assert [(f.kind, f.site, f.since) for f in stuck.evidence] == [
        ("vanishing_gradient", "blocks.00", 12),
        ("stuck", LOSS, 20),
    ]
    assert stuck.causes[0].startswith("lower blocks get no gradient")
    nonfinite = diagnosed(NAN_FOR_GOOD).incidents[1]
    assert nonfinite.site == "blocks.01.resid_post"
    assert [finding.site for finding in nonfinite.evidence] == ["blocks.01.resid_post"] * 2 + [LOSS]
    assert nonfinite.causes == ("an overflow on the way forward",)


def test_the_noise_of_the_batches_alone_would_hide_or_make_incidents():
    alone = {tag: column for tag, column in DOUBLE_SPIKE.items() if tag != UNIGRAM}
    assert len(diagnosed(alone).incidents) <= 2
    hard = {LOSS: [x + (i in (80, 95)) for i, x in enumerate(LEARNING)], UNIGRAM: UNI}
    explained = hard | {UNIGRAM: [x + (i in (80, 95)) for i, x in enumerate(UNI)]}
    assert [i.start for i in diagnosed(hard).incidents] == [80, 95]
    assert diagnosed(explained).incidents == ()
    assert diagnosed(explained).verdict().outcome == "stable"
