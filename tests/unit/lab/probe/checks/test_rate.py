"""What the table of edges expects of a probe, and when it says that it does not know."""

import pytest

from stabilitykit.lab.probe import build_spec
from stabilitykit.lab.probe.checks import EdgeRow, EdgeTable, verdict_of
from stabilitykit.lab.probe.checks.rate import judge, rate_finding
from stabilitykit.lab.probe.checks.scope import outside
from stabilitykit.records import Severity

SIZES = {"d_model": 48, "n_heads": 4, "seq_len": 32, "batch_size": 16, "steps": 240}
TABLE = EdgeTable(
    SIZES,
    (
        EdgeRow("post_norm", "none", 0.0, 6, 4e-3, 5e-3, 1e-3, 9),
        EdgeRow("post_norm", "none", 0.1, 6, 6e-3, 8e-3, 1e-3, 9),
        EdgeRow("pre_norm", "none", 0.0, 6, 20e-3, 40e-3, 1e-3, 9),
    ),
)


def spec(arch: str = "post_norm", *overrides: str):
    return build_spec(arch, overrides=["schedule.warmup=0", *overrides])


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(1e-3, "stable"), (4e-3, "stable"), (4.5e-3, "unknown"), (5e-3, "unstable"), (1.0, "unstable")],
)
def test_a_rate_holds_up_to_one_edge_and_fails_from_the_other(rate: float, expected: str):
    assert verdict_of(spec("post_norm", f"optimizer.lr={rate}"), TABLE) == expected


def test_too_small_a_rate_is_not_called_stable():
    verdict = judge(spec("post_norm", "optimizer.lr=1e-5"), TABLE)
    assert verdict.expected == "unknown"
    assert "may learn too slowly" in verdict.why


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("optimizer.kind=muon", "optimizer.kind muon"),
        ("optimizer.beta2=0.999", "optimizer.beta2 0.999"),
        ("model.d_model=128", "d_model 128 (measured at 48)"),
        ("model.attention.n_heads=1", "n_heads 1 (measured at 4)"),
        ("trainer.steps=1000", "steps 1000 (measured at 240)"),
        ("data.batch_size=64", "batch_size 64 (measured at 16)"),
        ("model.norm.kind=layernorm", "model.norm.kind layernorm"),
        ("model.initialization.embed_std=1", "model.initialization.embed_std 1.0"),
        ("model.residual.branch_scale=0.5", "model.residual.branch_scale 0.5"),
        ("schedule.kind=cosine", "schedule.kind cosine"),
        ("trainer.clip=null", "trainer.clip None"),
        ("trainer.precision=bf16-mixed", "trainer.precision bf16-mixed"),
        ("data.batches=4", "data.batches 4"),
    ],
)
def test_what_was_not_measured_is_unknown_and_named(override: str, named: str):
    other = spec("post_norm", "optimizer.lr=1e-2", override)
    assert outside(other, SIZES) == [named]
    verdict = judge(other, TABLE)
    assert (verdict.expected, verdict.why) == ("unknown", f"no run was measured with {named}")


@pytest.mark.parametrize("override", ["model.d_model=96", "model.d_model=24", "trainer.steps=120", "seed=7"])
def test_sizes_within_a_factor_of_two_and_other_seeds_are_spoken_of(override: str):
    assert verdict_of(spec("post_norm", "optimizer.lr=1e-2", override), TABLE) == "unstable"


@pytest.mark.parametrize("arch", ["deepnorm", "lerp", "no_norm", "llama3", "out_norm", "double_norm"])
def test_a_foreign_wiring_or_preset_is_unknown(arch: str):
    assert verdict_of(spec(arch, "optimizer.lr=1e-2"), TABLE) == "unknown"


def test_another_depth_than_was_measured_is_unknown_beyond_half_as_much():
    assert verdict_of(spec("post_norm", "optimizer.lr=1e-2", "model.n_layers=9"), TABLE) == "unstable"
    assert verdict_of(spec("post_norm", "optimizer.lr=1e-2", "model.n_layers=10"), TABLE) == "unknown"


def test_a_failing_rate_is_critical_with_what_the_table_knows_to_hold():
    finding = rate_finding(spec("post_norm", "optimizer.lr=6e-3"), TABLE)
    assert finding.severity is Severity.CRITICAL
    assert (finding.value, finding.limit) == pytest.approx((6e-3, 5e-3))
    assert finding.message == (
        "peak rate 0.006, post_norm, 6 blocks, no warmup: runs failed from 0.005 on, measured at 6 blocks"
    )
    assert finding.remedies == (
        "a rate that held: --lr 0.004",
        "this rate held with warmup: --warmup 30",
        "this rate held in another placement: --arch pre_norm",
    )


def test_a_rate_that_holds_asks_for_nothing():
    finding = rate_finding(spec("pre_norm", "optimizer.lr=3e-3"), TABLE)
    assert (finding.severity, finding.remedies) == (Severity.INFO, ())


def test_another_text_is_said():
    finding = rate_finding(spec("pre_norm", "data.kind=synthetic"), TABLE)
    assert finding.message.endswith("(measured on another text)")


def test_the_shipped_table_knows_the_probe_of_the_readme():
    assert verdict_of(spec("post_norm", "optimizer.lr=1e-2")) == "unstable"
    assert verdict_of(build_spec("pre_norm")) == "stable"
    assert verdict_of(build_spec("double_norm")) == "stable"
