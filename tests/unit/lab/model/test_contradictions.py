"""What a configuration may not say at once, and which field is blamed."""

from typing import Any

import pytest

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import TransformerConfig, arch_config
from stabilitykit.lab.model.wirings import ARCHS
from stabilitykit.lab.validation import validated

SLIDING = {"span": "sliding", "window": 4}
MUP = {"initialization": {"scheme": "mup", "mup_base_width": 32}}
MUP_SCALED = {**MUP, "attention": {"logit_scale": "inv_head_dim"}}


def rope(**rescale: Any) -> dict[str, Any]:
    return {"kind": "rope", "rescale": rescale}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"attention": {"n_heads": 4, "n_kv_heads": 3}}, "attention.n_kv_heads: got 3; must divide n_heads 4"),
    ({"norm": {"gain": False, "gain_offset": 1}}, "norm.gain_offset: got 1; must be 0 where gain is false"),
    ({"norm": {"alpha0": 0.8}}, "norm.alpha0: got 0.8; only the kinds dyt and derf have an α, not rmsnorm"),
    (
        {"attention": {"qk_norm": "head", "qk_norm_config": {"gain": False, "gain_offset": 1}}},
        "attention.qk_norm_config.gain_offset: got 1; must be 0 where gain is false",
    ),
    ({"position": {"theta": 5e5}}, "position.theta: got 500000.0; needs position.kind rope"),
    (
        {"position": {"kind": "alibi", "layout": "interleaved"}},
        "position.layout: got interleaved; needs position.kind rope",
    ),
    ({"position": {"buckets": 8}}, "position.buckets: got 8; needs position.kind t5_bias"),
    (
        {"position": {"kind": "t5_bias", "max_distance": 16}},
        "position.max_distance: got 16; must be at least 17",
    ),
    (
        {"position": {"kind": "rope", "rotary_fraction": 0.05}},
        "position.rotary_fraction: got 0.05 of head_dim 16; must leave an even number of features to rotate",
    ),
    (
        {"attention": {"head_dim": 5}, "position": {"kind": "rope"}},
        "position.rotary_fraction: got 1 of head_dim 5",
    ),
    (
        {"position": {"kind": "rope", "theta_local": 10}},
        "position.theta_local: got 10; needs a sliding layer",
    ),
    (
        {"position": {"rescale": {"kind": "linear", "factor": 2}}},
        "position.rescale.kind: got linear; needs position.kind rope",
    ),
    ({"position": rope(factor=2)}, "position.rescale.factor: got 2.0; needs position.rescale.kind linear or"),
    (
        {"position": rope(kind="linear")},
        "position.rescale.factor: is required for position.rescale.kind linear",
    ),
    (
        {"position": rope(kind="yarn", factor=2)},
        "position.rescale.original_len: is required for position.rescale.kind yarn",
    ),
    (
        {"position": rope(kind="linear", factor=2, original_len=9)},
        "position.rescale.original_len: got 9; needs position.rescale.kind dynamic or llama3 or yarn or",
    ),
    (
        {"position": rope(kind="linear", factor=2, truncate=False)},
        "position.rescale.truncate: got False; needs position.rescale.kind yarn",
    ),
    (
        {"position": rope(kind="llama3", factor=2, original_len=9, attention_factor=2)},
        "position.rescale.attention_factor: got 2.0; needs position.rescale.kind yarn or longrope",
    ),
    (
        {"position": rope(kind="llama3", factor=2, original_len=9, low_freq=4)},
        "position.rescale.high_freq: got 4; must be above low_freq 4",
    ),
    (
        {"position": rope(kind="yarn", factor=2, original_len=9, beta_fast=0.5)},
        "position.rescale.beta_fast: got 0.5; must be above beta_slow 1",
    ),
    (
        {"position": rope(kind="yarn", factor=2, original_len=6)},
        "position.rescale.original_len: got 6; must be above 6.28, or the fastest pair does not turn",
    ),
    (
        {"position": {**rope(kind="yarn", factor=2, original_len=9), "theta": 1}},
        "position.theta: got 1; must be greater than 1 for position.rescale.kind yarn",
    ),
    (
        {"position": rope(kind="longrope", factor=2, original_len=9, short=[1] * 8)},
        "position.rescale.long: is required for position.rescale.kind longrope",
    ),
    (
        {"position": rope(kind="longrope", factor=2, original_len=9, short=[1] * 8, long=[1] * 7)},
        "position.rescale.long: got 7 numbers; must be one for each of 8 pairs of features",
    ),
    (
        {"position": rope(kind="longrope", factor=2, original_len=9, short=[1] * 7 + [0], long=[1] * 8)},
        "position.rescale.short: got 0; all must be greater than 0",
    ),
    ({"position": rope(kind="linear", factor=0.5)}, "position.rescale.factor: got 0.5; must be at least 1"),
    (
        {"position": {"kind": "rope", "rescale_local": False}},
        "position.rescale_local: got false; needs position.rescale.kind",
    ),
    (
        {"position": {**rope(kind="linear", factor=2), "rescale_local": False}},
        "position.rescale_local: got false; needs a sliding layer",
    ),
    (
        {"position": {**rope(kind="linear", factor=2), "rescale_local": False}, "pattern": [SLIDING]},
        "position.rescale_local: got false; all layers slide",
    ),
    ({"position": {"sine_start": 2}}, "position.sine_start: got 2; needs position.kind sine"),
    (
        {"feedforward": {"activation": "relu", "alpha": 1.702}},
        "feedforward.alpha: got 1.702; needs feedforward.activation silu",
    ),
    (
        {"feedforward": {"gated": False, "up_offset": 1}},
        "feedforward.up_offset: got 1; needs feedforward.gated",
    ),
    (
        {"attention": {"temperature_start": 0}},
        "attention.temperature_start: needs attention.temperature_floor",
    ),
    ({"pattern": []}, "pattern: got an empty list; must hold at least one kind of layer"),
    ({"pattern": [{"window": 3}]}, "pattern.0.window: got 3; a full layer has none"),
    ({"pattern": [{}, {"span": "chunked"}]}, "pattern.1.window: is required for a chunked layer"),
    (
        {"pattern": [{"position": False}]},
        "pattern.0.position: got false; position.kind learned enters before",
    ),
    (
        {"position": {"kind": "rope"}, "pattern": [{"position": False}]},
        "position.kind: got rope; no layer of",
    ),
    ({"pattern": [{"qk_norm": False}]}, "pattern.0.qk_norm: got false; attention.qk_norm is none"),
    ({"attention": {"qk_norm_config": {}}}, "attention.qk_norm_config: needs attention.qk_norm head or full"),
    ({"attention": {"v_norm": True}}, "attention.v_norm: got true; needs attention.qk_norm head or full"),
    (
        {"attention": {"qk_norm_at": "post_rope"}},
        "attention.qk_norm_at: got post_rope; needs attention.qk_norm",
    ),
    (
        {"position": {"kind": "rope"}, "attention": {"qk_norm": "full", "qk_norm_at": "post_rope"}},
        "attention.qk_norm_at: got post_rope; the full-width norm stands before the split into heads",
    ),
    (
        {"attention": {"qk_norm": "head", "qk_norm_at": "post_rope"}},
        "attention.qk_norm_at: got post_rope; needs position.kind rope, not learned",
    ),
    (
        {"attention": {"qk_norm": "full", "qk_gain_per_head": True}},
        "attention.qk_gain_per_head: got true; needs",
    ),
    (
        {"attention": {"qk_norm": "head", "qk_gain_per_head": True, "qk_norm_config": {"bias": True}}},
        "attention.qk_gain_per_head: got true; goes without a bias",
    ),
    (
        {"attention": {"temperature_scale": 0.2}},
        "attention.temperature_scale: needs attention.temperature_floor",
    ),
    ({"attention": {"temperature_floor": 8}}, "attention.temperature_floor: needs a layer without position"),
    ({"feedforward": {"d_ff": 8, "ratio": 2}}, "feedforward.ratio: got 2; d_ff 8 says the width already"),
    ({"shared_norm": True}, "shared_norm: got true; needs order parallel"),
    (
        {"order": "parallel", "attention": {"wiring": "out_norm"}},
        "order: got parallel; attention and feedforward",
    ),
    (
        {"order": "parallel", "wiring": "lerp"},
        "order: got parallel; the wiring lerp takes one branch at a time",
    ),
    (
        {"order": "parallel", "shared_norm": True, "wiring": "out_norm"},
        "shared_norm: got true; needs a wiring",
    ),
    ({"wiring": "lerp", "residual": {"skip_scale": 0.5}}, "residual.skip_scale: got 0.5; the wiring lerp"),
    ({"wiring": "lerp", "residual": {"branch_scale": 2}}, "residual.branch_scale: got 2; the wiring lerp"),
    (
        {"wiring": "deepnorm", "residual": {"skip_scale": 2}},
        "residual.skip_scale: got 2; the wiring deepnorm",
    ),
    ({"residual": {"gate_init": 0.1}}, "residual.gate_init: got 0.1; needs residual.gate scalar or vector"),
    (
        {"wiring": "post_norm", "residual": {"depth_scale": "inv_sqrt_layer"}},
        "residual.depth_scale: got inv_sqrt_layer; needs the wiring pre_norm or double_norm",
    ),
    (
        {"overrides": [{"layers": [6], "wiring": "post_norm"}]},
        "overrides.0.layers: got 6; must be at least 0",
    ),
    (
        {"overrides": [{"layers": [-1], "wiring": "post_norm"}]},
        "overrides.0.layers: got -1; must be at least 0",
    ),
    ({"overrides": [{"layers": [], "wiring": "post_norm"}]}, "overrides.0.layers: got an empty list"),
    (
        {"head": {"tied": True}, "initialization": {"zero_head": True}},
        "initialization.zero_head: got true; head.tied would zero the embedding",
    ),
    ({"initialization": {"std": 0.1}}, "initialization.std: got 0.1; the scheme xavier sets it by itself"),
    (
        {"wiring": "no_norm", "attention": {"norm": {"kind": "dyt"}}},
        "attention.norm: is given; there is no norm in that place",
    ),
    (
        {"feedforward": {"wiring": "no_norm", "norm": {}}},
        "feedforward.norm: is given; there is no norm in that place",
    ),
    ({"embedding": {"norm_config": {}}}, "embedding.norm_config: is given; there is no norm in that place"),
    (
        {"wiring": "post_norm", "final_norm_config": {}},
        "final_norm_config: is given; there is no norm in that place",
    ),
    (
        {"feedforward": {"norm": {"gain": False, "gain_offset": 1}}},
        "feedforward.norm.gain_offset: got 1; must be 0 where gain is false",
    ),
    (
        {"attention": {"residual": {"gate_init": 0.1}}},
        "attention.residual.gate_init: got 0.1; needs attention.residual.gate scalar or vector",
    ),
    (
        {"feedforward": {"wiring": "deepnorm", "residual": {"skip_scale": 2}}},
        "feedforward.residual.skip_scale: got 2; the wiring deepnorm sets it itself",
    ),
    (
        {"wiring": "lerp", "residual": {"branch_depth_exponent": 1}},
        "residual.branch_depth_exponent: got 1; the wiring lerp",
    ),
    (
        {"order": "parallel", "attention": {"residual": {"gpas": True}}},
        "order: got parallel; both branches must have the same residual.gpas, the stream's",
    ),
    (
        {"initialization": {"scheme": "mup"}},
        "initialization.mup_base_width: is required for the scheme mup",
    ),
    (
        {"initialization": {"mup_base_width": 32}},
        "initialization.mup_base_width: got 32; needs the scheme mup",
    ),
    (MUP, "attention.logit_scale: got rsqrt_head_dim; the scheme mup needs inv_head_dim, or a number"),
    (
        {**MUP_SCALED, "embedding": {"scale": "sqrt_d"}},
        "embedding.scale: got sqrt_d; the scheme mup needs a number, the same at every width",
    ),
    (
        {**MUP_SCALED, "head": {"scale": "rsqrt_d"}},
        "head.scale: got rsqrt_d; the scheme mup needs a number, the same at every width",
    ),
    (
        {**MUP_SCALED, "feedforward": {"pre_scale": "sqrt_d"}},
        "feedforward.pre_scale: got sqrt_d; the scheme mup needs a number, the same at every width",
    ),
    (
        {**MUP_SCALED, "norm": {"kind": "l2"}},
        "norm.kind: got l2; features shrink with the width there, the scheme mup needs another",
    ),
    ({**MUP_SCALED, "unit_weights": True}, "initialization.scheme: got mup; with unit_weights"),
    (
        {"unit_weights": True, "initialization": {"zero_head": True}},
        "initialization.zero_head: got true; with unit_weights no vector has length 0",
    ),
    # Either a number or a word: one line for both.
    (
        {"attention": {"logit_scale": "big"}},
        "attention.logit_scale: got 'big'; must be a number, or accepted: rsqrt_head_dim, inv_head_dim, "
        "sqrt_head_dim, none",
    ),
    ({"final_norm": "maybe"}, "final_norm: got 'maybe'; accepted: auto, or must be true or false"),
    ({"pattern": [{"span": "wide"}]}, "pattern.0.span: got 'wide'; accepted: full, sliding, chunked"),
    ({"pattern": 3}, "pattern: got 3; must be a list"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_contradiction_is_refused_where_it_stands(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        validated(TransformerConfig, fields)
    assert str(refused.value).startswith(f"model.{message}")
    assert "\n" not in str(refused.value)


ACCEPTED: list[dict[str, Any]] = [
    {"position": {"kind": "rope", "theta_local": 10}, "pattern": [SLIDING, {}]},
    {"position": rope(kind="longrope", factor=2, original_len=9, short=[1] * 8, long=[2] * 8)},
    {
        "position": {**rope(kind="yarn", factor=2, original_len=9), "rescale_local": False},
        "pattern": [SLIDING, {}],
    },
    {"wiring": "lerp", "residual": {"gate": "scalar", "gate_init": 0.1}},
    {"attention": {"logit_scale": "0.5"}},
    MUP_SCALED,
    {**MUP_SCALED, "head": {"tied": True, "scale": 4}},
    {"wiring": "lerp", "unit_weights": True, "norm": {"kind": "l2", "gain": False}},
    {"order": "parallel", "attention": {"residual": {"branch_scale": 0.5}}},
    {"wiring": "lerp", "attention": {"wiring": "pre_norm", "residual": {"skip_scale": 2}}},
    {"final_norm": "false"},
    {"pattern": [{**SLIDING, "window": "4"}]},
]


@pytest.mark.parametrize("fields", [*ACCEPTED, *map(arch_config, ARCHS)], ids=str)
def test_what_is_resolved_is_accepted_and_resolves_to_itself(fields: dict[str, Any]) -> None:
    resolved = validated(TransformerConfig, fields).resolved()
    again = validated(TransformerConfig, resolved.model_dump(mode="json"))
    assert again == resolved
    assert again.resolved() == resolved
