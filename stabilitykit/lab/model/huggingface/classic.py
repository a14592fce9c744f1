"""Families with LayerNorm: what their transformers configurations mean in ours."""

from typing import Any

from stabilitykit.lab.model.huggingface.reading import activation, common, heads, require
from stabilitykit.lab.model.huggingface.rope import rope
from stabilitykit.lab.nested import Fields


def gpt1(config: Any) -> Fields:
    """Return the fields of an ``OpenAIGPTConfig``. Its "gelu" is the tanh form."""
    fields = _gpt(config)
    named = activation("gelu_new" if config.afn == "gelu" else config.afn)
    return {**fields, "wiring": "post_norm", "feedforward": {**fields["feedforward"], **named}}


def gpt2(config: Any) -> Fields:
    """Return the fields of a ``GPT2Config``."""
    require(config, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    fields = _gpt(config)
    scale = "rsqrt_head_dim" if config.scale_attn_weights else "none"
    return {**fields, "attention": {**fields["attention"], "logit_scale": scale}}


def opt(config: Any) -> Fields:
    """Return the fields of an ``OPTConfig``."""
    require(config, enable_bias=True, layer_norm_elementwise_affine=True, _remove_final_layer_norm=False)
    require(config, word_embed_proj_dim=config.hidden_size)
    return common(config) | {
        "wiring": "pre_norm" if config.do_layer_norm_before else "post_norm",
        "norm": layernorm(1e-5),
        "position": {"kind": "learned"},
        "attention": {**heads(config), "qkv_bias": True, "out_bias": True},
        "feedforward": plain(config.activation_function, config.ffn_dim),
    }


def gptj(config: Any) -> Fields:
    """Return the fields of a ``GPTJConfig``."""
    head_dim = config.hidden_size // config.num_attention_heads
    fields = common(config)
    return fields | {
        "order": "parallel",
        "shared_norm": True,
        "norm": layernorm(config.layer_norm_epsilon),
        "position": {
            "kind": "rope",
            "layout": "interleaved",
            "rotary_fraction": config.rotary_dim / head_dim,
        },
        "attention": heads(config),
        "feedforward": plain(config.activation_function, config.n_inner or 4 * config.hidden_size),
        "head": {**fields["head"], "bias": True},
    }


def gpt_neox(config: Any) -> Fields:
    """Return the fields of a ``GPTNeoXConfig``."""
    return common(config) | {
        "order": "parallel" if config.use_parallel_residual else "serial",
        "norm": layernorm(config.layer_norm_eps),
        "position": rope(config, partial=True),
        "attention": {
            **heads(config),
            "qkv_bias": config.attention_bias,
            "out_bias": config.attention_bias,
        },
        "feedforward": plain(config.hidden_act, config.intermediate_size),
    }


def bloom(config: Any) -> Fields:
    """Return the fields of a ``BloomConfig``."""
    after = config.apply_residual_connection_post_layernorm
    return common(config) | {
        "wiring": "line_norm" if after else "pre_norm",
        "final_norm": True,
        "norm": layernorm(config.layer_norm_epsilon),
        "position": {"kind": "alibi"},
        "attention": {**heads(config), "qkv_bias": True, "out_bias": True},
        "feedforward": plain("gelu_new", 4 * config.hidden_size),
        "embedding": {"norm": True},
    }


def falcon(config: Any) -> Fields:
    """Return the fields of a ``FalconConfig``, of the first and of the new decoder architecture."""
    require(config, alibi=False)
    new, parallel = config.new_decoder_architecture, config.parallel_attn or config.new_decoder_architecture
    if new:
        require(config, parallel_attn=True)
    n_heads = config.num_attention_heads
    kv_heads = config.num_kv_heads if new else (1 if config.multi_query else n_heads)
    return common(config) | {
        "order": "parallel" if parallel else "serial",
        "shared_norm": bool(parallel and not (new and config.num_ln_in_parallel_attn == 2)),
        "norm": layernorm(config.layer_norm_epsilon),
        "position": rope(config),
        "attention": {
            "n_heads": n_heads,
            "n_kv_heads": kv_heads,
            "qkv_bias": config.bias,
            "out_bias": config.bias,
        },
        "feedforward": {**plain(config.activation, config.ffn_hidden_size), "bias": config.bias},
    }


def nemotron(config: Any) -> Fields:
    """Return the fields of a ``NemotronConfig``: gains stored as differences from 1."""
    return common(config) | {
        "norm": {**layernorm(config.norm_eps), "gain_offset": 1.0},
        "position": rope(config, partial=True),
        "attention": {
            **heads(config),
            "qkv_bias": config.attention_bias,
            "out_bias": config.attention_bias,
        },
        "feedforward": {**plain(config.hidden_act, config.intermediate_size), "bias": config.mlp_bias},
    }


def _gpt(config: Any) -> Fields:
    named = getattr(config, "activation_function", "gelu_new")
    return common(config) | {
        "norm": layernorm(config.layer_norm_epsilon),
        "position": {"kind": "learned"},
        "attention": {**heads(config), "qkv_bias": True, "out_bias": True},
        "feedforward": plain(named, getattr(config, "n_inner", None) or 4 * config.hidden_size),
    }


def layernorm(eps: float) -> Fields:
    """Return a LayerNorm with gain and bias."""
    return {"kind": "layernorm", "eps": eps, "bias": True}


def plain(named: str, d_ff: int, bias: bool = True) -> Fields:
    """Return a feed-forward section without a gate."""
    return {**activation(named), "gated": False, "d_ff": d_ff, "bias": bias}
