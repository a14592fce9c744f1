"""Under µP what a few steps change does not depend on the width; under a standard scheme it does."""

from typing import Any

import pytest

from stabilitykit.lab.model import TransformerConfig
from stabilitykit.lab.training import OptimizerConfig, coordinate_check, width_exponent
from stabilitykit.lab.training.coordinates import SITES
from stabilitykit.lab.validation import validated

WIDTHS = (32, 64, 128, 256)


def exponents(initialization: dict[str, Any], **fields: Any) -> dict[str, float]:
    attention = {"n_heads": 4, "logit_scale": "inv_head_dim", **fields.pop("attention", {})}
    same = {"n_layers": 2, "attention": attention, "initialization": initialization, **fields}
    configs = {width: validated(TransformerConfig, {"d_model": width, **same}) for width in WIDTHS}
    changes = coordinate_check(configs, OptimizerConfig(lr=3e-3), steps=3, seeds=(0, 1))
    assert set(changes) == set(SITES)
    return {site: width_exponent(by_width) for site, by_width in changes.items()}


MUP = {"scheme": "mup", "mup_base_width": 32, "zero_head": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {},
        pytest.param({"attention": {"n_kv_heads": 2}, "position": {"kind": "rope"}}, marks=pytest.mark.slow),
        pytest.param({"wiring": "out_norm", "attention": {"qk_norm": "head"}}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_under_mup_changes_are_flat_over_widths(fields: dict[str, Any]) -> None:
    """Exponents seen, over sites: -0.14 to -0.01."""
    for site, exponent in exponents(MUP, **fields).items():
        assert abs(exponent) < 0.2, site


@pytest.mark.slow
def test_a_standard_scheme_changes_more_the_wider_the_model() -> None:
    """The same model at width 32, to the bit; exponents seen: 1.1 to 1.3."""
    for site, exponent in exponents({"scheme": "fan_in", "embed_std": 1.0, "zero_head": True}).items():
        assert exponent > 0.5, site


@pytest.mark.slow
def test_with_a_tied_table_activations_are_flat_and_logits_fall_towards_their_limit() -> None:
    found = exponents({**MUP, "zero_head": False}, head={"tied": True})
    assert -0.6 < found.pop("logits") < 0
    assert all(abs(exponent) < 0.2 for exponent in found.values()), found


def test_the_exponent_of_a_power_is_the_power() -> None:
    assert width_exponent({width: 3 * width**-0.5 for width in WIDTHS}) == pytest.approx(-0.5)
