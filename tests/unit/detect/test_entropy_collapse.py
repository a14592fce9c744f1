"""Attention that narrows, or becomes uniform."""

import math

import pytest

from stabilitykit.detect.entropy_collapse import EntropyCollapse
from stabilitykit.records import Severity

from .conftest import noise, records, run, steps


def entropies(values):
    return run(EntropyCollapse(), records({"attn/entropy/blocks.03": values}))


@pytest.mark.parametrize(("before", "after"), [(0.8, 0.19), (0.5, 0.0), (0.04, 0.009)])
def test_a_mean_that_falls_to_a_quarter_has_narrowed(before, after):
    found = entropies([before] * 40 + [after] * 30)
    assert steps(found) == list(range(44, 70))
    assert {(f.kind, f.site, f.since, f.severity) for f in found} == {
        ("entropy_collapse", "blocks.03", 42, Severity.INFO)
    }
    assert found[0].threshold == pytest.approx(before / 4)
    assert "blocks.03 has narrowed" in found[0].message
    assert entropies([before] * 40 + [before / 3.9] * 30) == []


@pytest.mark.parametrize("after", [0.9996, 1.0])
def test_what_is_missing_of_the_maximum_goes_to_nothing_where_attention_becomes_uniform(after):
    found = entropies([0.95] * 40 + [after] * 30)
    assert steps(found) == list(range(44, 70))
    assert found[0].value == pytest.approx(after, abs=2e-6)
    assert found[0].threshold == pytest.approx(1 - 0.05 / 50)
    assert "has become uniform" in found[0].message


@pytest.mark.parametrize(
    "healthy",
    [
        # Nearly uniform, as in healthy first steps, but not gone.
        [0.95] * 40 + [0.9991] * 30,
        # Uniform from the start: in small post-norm models the first block is.
        [1.0] * 20 + [1 - 6e-8, 1.0] * 20,
        [0.9999 + 0.00009 * math.sin(i) for i in range(80)],
        [0.9 / (1 + 0.02 * i) for i in range(300)],
        [0.5 * math.exp(x) for x in noise(300, 0.4)],
        [0.001] * 80,
        [0.0] * 20 + [0.5] * 60,
        [math.nan] * 80,
    ],
    ids=["nearly", "uniform", "wobble", "slow", "noise", "narrow for good", "widening", "no number"],
)
def test_what_healthy_attention_does_is_nothing(healthy):
    assert entropies(healthy) == []


def test_a_single_narrow_head_is_not_looked_at():
    series = records({"attn/entropy_min/blocks.00": [0.5] * 40 + [0.0] * 20})
    assert run(EntropyCollapse(), series) == []
