"""Every bias has its own switch."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from stabilitykit.lab.model import Transformer

SWITCHES: list[tuple[dict[str, Any], set[str]]] = [
    ({}, set()),
    ({"position": {"kind": "rope"}, "norm": {"kind": "layernorm"}, "head": {"tied": True}}, set()),
    ({"attention": {"qkv_bias": True}}, {"attn.q_proj", "attn.k_proj", "attn.v_proj"}),
    ({"attention": {"out_bias": True}}, {"attn.o_proj"}),
    ({"feedforward": {"bias": True}}, {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}),
    ({"feedforward": {"bias": True, "gated": False}}, {"mlp.up_proj", "mlp.down_proj"}),
    ({"head": {"bias": True}}, {"head.linear"}),
    ({"norm": {"bias": True}}, {"attn_norm", "mlp_norm", "final_norm"}),
    (
        {"attention": {"qk_norm": "head", "qk_norm_config": {"bias": True}}},
        {"attn.q_norm", "attn.k_norm"},
    ),
]


@pytest.mark.parametrize(("fields", "owners"), SWITCHES, ids=[str(fields) for fields, _ in SWITCHES])
def test_every_bias_has_its_own_switch(
    build: Callable[..., Transformer], fields: dict[str, Any], owners: set[str]
) -> None:
    names = [name for name, _ in build(**fields).named_parameters()]
    biased = {name.removesuffix(".bias") for name in names if name.endswith(".bias")}
    assert {re.sub(r"^blocks\.\d+\.", "", name) for name in biased} == owners
