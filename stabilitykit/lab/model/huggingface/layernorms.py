"""More families with LayerNorm: what their transformers configurations mean in ours."""

from typing import Any

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model.huggingface.classic import gpt2, gptj, layernorm, plain
from stabilitykit.lab.model.huggingface.gated import gated
from stabilitykit.lab.model.huggingface.reading import common, heads, one_window, repeating, require
from stabilitykit.lab.model.huggingface.rope import rope
from stabilitykit.lab.nested import Fields


def gpt_bigcode(config: Any) -> Fields:
    """Return the fields of a ``GPTBigCodeConfig``: GPT-2 whose heads may share one key and value."""
    fields = gpt2(config)
    return fields | {"attention": {**fields["attention"], "n_kv_heads": config.num_key_value_heads}}


def gpt_neo(config: Any) -> Fields:
    """Return the fields of a ``GPTNeoConfig``: logits are not scaled, some layers slide."""
    spans = {"global": {"span": "full"}, "local": {"span": "sliding", "window": config.window_size}}
    return common(config) | {
        "norm": layernorm(config.layer_norm_epsilon),
        "position": {"kind": "learned"},
        "attention": {**heads(config), "logit_scale": "none", "out_bias": True},
        "feedforward": plain(config.activation_function, config.intermediate_size or 4 * config.hidden_size),
        "pattern": repeating([spans[each] for each in config.attention_layers]),
    }


def codegen(config: Any) -> Fields:
    """Return the fields of a ``CodeGenConfig``: GPT-J."""
    if config.num_attention_heads % 4:
        got = config.num_attention_heads
        raise ConfigError(f"huggingface.n_head: got {got}; must divide by 4, the shards it is stored in")
    return gptj(config)


def mpt(config: Any) -> Fields:
    """Return the fields of an ``MptConfig``, as its class in transformers reads it."""
    section = config.attn_config
    for field, only in {"alibi": True, "alibi_bias_max": 8, "qk_ln": False, "prefix_lm": False}.items():
        if getattr(section, field) != only:
            got = getattr(section, field)
            raise ConfigError(f"huggingface.attn_config.{field}: got {got!r}; accepted: {only!r}")
    require(config, no_bias=True, logit_scale=None)
    scale = section.softmax_scale
    return common(config) | {
        "seq_len": config.max_seq_len,
        "norm": {"kind": "layernorm", "eps": config.layer_norm_epsilon},
        "position": {"kind": "alibi"},
        "attention": {
            **heads(config),
            "clip_qkv": section.clip_qkv or None,
            "logit_scale": "rsqrt_head_dim" if scale is None else scale,
        },
        "feedforward": plain("gelu", 4 * config.hidden_size, bias=False),
    }


def biogpt(config: Any) -> Fields:
    """Return the fields of a ``BioGptConfig``."""
    return common(config) | {
        "norm": layernorm(1e-5),
        "position": {"kind": "learned"},
        "attention": {**heads(config), "qkv_bias": True, "out_bias": True},
        "feedforward": plain(config.hidden_act, config.intermediate_size),
        "embedding": {"scale": "sqrt_d" if config.scale_embedding else 1.0},
    }


def xglm(config: Any) -> Fields:
    """Return the fields of an ``XGLMConfig``: sines, counted from 2."""
    require(config, add_cross_attention=False)
    return common(config) | {
        "norm": layernorm(1e-5),
        "position": {"kind": "sine", "sine_layout": "half", "sine_closed": True, "sine_start": 2},
        "attention": {**heads(config), "qkv_bias": True, "out_bias": True},
        "feedforward": plain(config.activation_function, config.ffn_dim),
        "embedding": {"scale": "sqrt_d" if config.scale_embedding else 1.0},
    }


def ctrl(config: Any) -> Fields:
    """Return the fields of a ``CTRLConfig``. Its layers' eps is fixed."""
    require(config, layer_norm_epsilon=1e-6)
    fields = common(config)
    return fields | {
        "norm": layernorm(1e-6),
        "position": {"kind": "sine", "sine_layout": "half"},
        "attention": {**heads(config), "qkv_bias": True, "out_bias": True},
        "feedforward": plain("relu", config.dff),
        "embedding": {"scale": "sqrt_d"},
        "head": {**fields["head"], "bias": True},
    }


def phi(config: Any) -> Fields:
    """Return the fields of a ``PhiConfig``: parallel branches behind one norm."""
    fields = common(config)
    return fields | {
        "order": "parallel",
        "shared_norm": True,
        "norm": layernorm(config.layer_norm_eps),
        "position": rope(config, partial=True),
        "attention": {**heads(config), "qkv_bias": True, "out_bias": True, **_head_norm(config)},
        "feedforward": plain(config.hidden_act, config.intermediate_size),
        "head": {**fields["head"], "bias": True},
    }


def persimmon(config: Any) -> Fields:
    """Return the fields of a ``PersimmonConfig``."""
    return common(config) | {
        "norm": layernorm(config.layer_norm_eps),
        "position": rope(config, partial=True),
        "attention": {**heads(config), "qkv_bias": True, "out_bias": True, **_head_norm(config)},
        "feedforward": plain(config.hidden_act, config.intermediate_size),
    }


def stablelm(config: Any) -> Fields:
    """Return the fields of a ``StableLmConfig``: every head has its own gain in the queries' norm."""
    fields = gated(config, config.hidden_act, config.layer_norm_eps)
    norm = {"kind": "layernorm", "eps": config.layer_norm_eps}
    per_head = {"qk_norm": "head", "qk_gain_per_head": True, "qk_norm_config": norm}
    parallel = bool(config.use_parallel_residual)
    return fields | {
        "order": "parallel" if parallel else "serial",
        "shared_norm": parallel,
        "norm": layernorm(config.layer_norm_eps),
        "position": rope(config, partial=True),
        "attention": {
            **fields["attention"],
            "qkv_bias": config.use_qkv_bias,
            **(per_head if config.qk_layernorm else {}),
        },
    }


def starcoder2(config: Any) -> Fields:
    """Return the fields of a ``Starcoder2Config``: one window for all layers, or none."""
    return common(config) | {
        "norm": layernorm(config.norm_epsilon),
        "position": rope(config),
        "attention": {**heads(config), "qkv_bias": config.use_bias, "out_bias": config.use_bias},
        "feedforward": plain(config.hidden_act, config.intermediate_size, config.use_bias),
        "pattern": one_window(config),
    }


def jais2(config: Any) -> Fields:
    """Return the fields of a ``Jais2Config``: biases everywhere, squared ReLU without a gate."""
    fields = gated(config, config.hidden_act, config.layer_norm_eps)
    return fields | {
        "norm": layernorm(config.layer_norm_eps),
        "position": rope(config),
        "feedforward": plain(config.hidden_act, config.intermediate_size, config.mlp_bias),
    }


def _head_norm(config: Any) -> Fields:
    norm = {"qk_norm": "head", "qk_norm_config": layernorm(config.layer_norm_eps)}
    return norm if config.qk_layernorm else {}
