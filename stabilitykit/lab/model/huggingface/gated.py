"""Families with gated feed-forward and rope: what their transformers configurations mean in ours."""

from typing import Any

from stabilitykit.lab.model.huggingface.reading import (
    activation,
    common,
    every,
    heads,
    layers,
    one_window,
    repeating,
    require,
)
from stabilitykit.lab.model.huggingface.rope import rope, rope_by_span
from stabilitykit.lab.nested import Fields


def llama(config: Any) -> Fields:
    """Return the fields of a ``LlamaConfig``."""
    return gated(config, config.hidden_act, config.rms_norm_eps) | {"position": rope(config)}


def mistral(config: Any) -> Fields:
    """Return the fields of a ``MistralConfig``: one window for all layers, or none."""
    return llama(config) | {"pattern": one_window(config)}


def qwen2(config: Any) -> Fields:
    """Return the fields of a ``Qwen2Config``, whose queries, keys and values have biases."""
    fields = llama(config)
    return fields | {"attention": {**fields["attention"], "qkv_bias": True}, "pattern": layers(config)}


def qwen3(config: Any) -> Fields:
    """Return the fields of a ``Qwen3Config``."""
    fields = llama(config)
    return fields | {"attention": {**fields["attention"], "qk_norm": "head"}, "pattern": layers(config)}


def olmo(config: Any) -> Fields:
    """Return the fields of an ``OlmoConfig``: LayerNorm without gain and bias."""
    fields = gated(config, config.hidden_act, 1e-5)
    return fields | {
        "norm": {"kind": "layernorm", "eps": 1e-5, "gain": False},
        "position": rope(config),
        "attention": {**fields["attention"], "clip_qkv": config.clip_qkv},
    }


def olmo2(config: Any) -> Fields:
    """Return the fields of an ``Olmo2Config``."""
    return out_norm(llama(config))


def olmo3(config: Any) -> Fields:
    """Return the fields of an ``Olmo3Config``."""
    fields = gated(config, config.hidden_act, config.rms_norm_eps)
    return out_norm(fields) | {"position": rope_by_span(config), "pattern": layers(config)}


def gemma(config: Any) -> Fields:
    """Return the fields of a ``GemmaConfig``."""
    require(config, use_bidirectional_attention=None)
    return _gemma(config, config.hidden_act) | {"position": rope(config)}


def gemma2(config: Any) -> Fields:
    """Return the fields of a ``Gemma2Config``."""
    require(config, use_bidirectional_attention=None)
    fields = _gemma(config, config.hidden_activation)
    return fields | {
        "wiring": "double_norm",
        "position": rope(config),
        "attention": {
            **fields["attention"],
            "logit_scale": config.query_pre_attn_scalar**-0.5,
            "softcap": config.attn_logit_softcapping,
        },
        "head": {**fields["head"], "softcap": config.final_logit_softcapping},
        "pattern": layers(config),
    }


def gemma3(config: Any) -> Fields:
    """Return the fields of a ``Gemma3TextConfig``."""
    require(config, use_bidirectional_attention=False, attn_logit_softcapping=None)
    fields = _gemma(config, config.hidden_activation)
    return fields | {
        "wiring": "double_norm",
        "position": rope_by_span(config),
        "attention": {
            **fields["attention"],
            "logit_scale": config.query_pre_attn_scalar**-0.5,
            "qk_norm": "head",
            "qk_norm_config": fields["norm"],
        },
        "head": {**fields["head"], "softcap": config.final_logit_softcapping},
        "pattern": layers(config),
    }


def cohere(config: Any) -> Fields:
    """Return the fields of a ``CohereConfig``."""
    norm = {"kind": "layernorm", "eps": config.layer_norm_eps}
    fields = gated(config, config.hidden_act, config.layer_norm_eps)
    per_head = {"qk_norm": "head", "qk_gain_per_head": True, "qk_norm_config": norm}
    normed = per_head if getattr(config, "use_qk_norm", False) else {}
    return fields | {
        "order": "parallel",
        "shared_norm": True,
        "norm": norm,
        "position": rope(config, "interleaved"),
        "attention": {**fields["attention"], **normed},
        "head": {**fields["head"], "scale": config.logit_scale},
    }


def cohere2(config: Any) -> Fields:
    """Return the fields of a ``Cohere2Config``: only sliding layers know positions."""
    return cohere(config) | {"pattern": layers(config, full={"position": False})}


def llama4(config: Any) -> Fields:
    """Return the fields of a ``Llama4TextConfig`` without experts."""
    require(config, moe_layers=[])
    fields = gated(config, config.hidden_act, config.rms_norm_eps)
    turned = [bool(flag) for flag in config.no_rope_layers]
    kinds = every(layers(config), len(turned))
    norm = {"gain": False, "eps": config.rms_norm_eps}
    normed = {"qk_norm": "head", "qk_norm_at": "post_rope", "qk_norm_config": norm}
    tempered = {"temperature_floor": config.floor_scale, "temperature_scale": config.attn_scale}
    return fields | {
        "position": rope(config, "interleaved"),
        "attention": {
            **fields["attention"],
            **(normed if config.use_qk_norm else {}),
            **(tempered if config.attn_temperature_tuning and not all(turned) else {}),
        },
        "feedforward": {**fields["feedforward"], "d_ff": config.intermediate_size_mlp},
        "pattern": repeating(
            [
                {**kind, "position": rope, "qk_norm": rope or not config.use_qk_norm}
                for kind, rope in zip(kinds, turned, strict=True)
            ]
        ),
    }


def gated(config: Any, named: str, eps: float) -> Fields:
    """Return what families with RMSNorm and a gate share, but for their positions."""
    bias = getattr(config, "attention_bias", False)
    return common(config) | {
        "norm": {"kind": "rmsnorm", "eps": eps},
        "attention": {**heads(config), "qkv_bias": bias, "out_bias": bias},
        "feedforward": {
            **activation(named),
            "gated": True,
            "d_ff": config.intermediate_size,
            "bias": getattr(config, "mlp_bias", False),
        },
    }


def _gemma(config: Any, named: str) -> Fields:
    fields = gated(config, named, config.rms_norm_eps)
    return fields | {"norm": {**fields["norm"], "gain_offset": 1.0}, "embedding": {"scale": "sqrt_d"}}


def out_norm(fields: Fields) -> Fields:
    """Return fields with norms behind the branches and one over all of queries and keys."""
    return fields | {"wiring": "out_norm", "attention": {**fields["attention"], "qk_norm": "full"}}
