"""Families one step away from LLaMA: what their transformers configurations mean in ours."""

from typing import Any

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model.huggingface.classic import plain
from stabilitykit.lab.model.huggingface.gated import gated, gemma2, llama, qwen3
from stabilitykit.lab.model.huggingface.reading import every, layers, one_window, repeating, require
from stabilitykit.lab.model.huggingface.rope import rope
from stabilitykit.lab.nested import Fields


def ministral(config: Any) -> Fields:
    """Return the fields of a ``MinistralConfig`` or ``CwmConfig``: some layers slide."""
    return llama(config) | {"pattern": layers(config)}


def ministral3(config: Any) -> Fields:
    """Return the fields of a ``Ministral3Config``: queries are tempered in every layer."""
    parameters = config.rope_parameters
    tempered = {
        "temperature_floor": parameters["original_max_position_embeddings"],
        "temperature_scale": parameters["llama_4_scaling_beta"],
        "temperature_start": 0,
        "temperature_layers": "all",
    }
    fields = gated(config, config.hidden_act, config.rms_norm_eps)
    return fields | {
        "position": rope(config, more=("llama_4_scaling_beta", "max_position_embeddings")),
        "attention": {**fields["attention"], **tempered},
        "pattern": one_window(config),
    }


def arcee(config: Any) -> Fields:
    """Return the fields of an ``ArceeConfig``: squared ReLU without a gate."""
    return llama(config) | {
        "feedforward": plain(config.hidden_act, config.intermediate_size, config.mlp_bias)
    }


def apertus(config: Any) -> Fields:
    """Return the fields of an ``ApertusConfig``: xIELU without a gate, QK-norm."""
    fields = llama(config)
    return fields | {
        "attention": {**fields["attention"], "qk_norm": "head"},
        "feedforward": plain(config.hidden_act, config.intermediate_size, bias=False),
    }


def phi3(config: Any) -> Fields:
    """Return the fields of a ``Phi3Config``."""
    fields = gated(config, config.hidden_act, config.rms_norm_eps)
    return fields | {"position": rope(config, partial=True), "pattern": one_window(config)}


def smollm3(config: Any) -> Fields:
    """Return the fields of a ``SmolLM3Config``: some layers have no position."""
    turned = [bool(flag) for flag in config.no_rope_layers]
    kinds = every(layers(config), len(turned))
    pattern = [{**kind, "position": rope} for kind, rope in zip(kinds, turned, strict=True)]
    return llama(config) | {"pattern": repeating(pattern)}


def exaone4(config: Any) -> Fields:
    """Return the fields of an ``Exaone4Config``: norms behind the branches.

    Full layers among sliding ones have no position.
    """
    fields = llama(config)
    return fields | {
        "wiring": "out_norm",
        "attention": {**fields["attention"], "qk_norm": "head"},
        "pattern": layers(config, full={"position": config.sliding_window is None}),
    }


def seed_oss(config: Any) -> Fields:
    """Return the fields of a ``SeedOssConfig``."""
    fields = llama(config)
    return fields | {"attention": {**fields["attention"], "out_bias": config.attention_out_bias}}


def ernie4_5(config: Any) -> Fields:
    """Return the fields of an ``Ernie4_5Config``."""
    fields, bias = gated(config, config.hidden_act, config.rms_norm_eps), bool(config.use_bias)
    return fields | {
        "position": rope(config, "interleaved"),
        "attention": {**fields["attention"], "qkv_bias": bias, "out_bias": bias},
        "feedforward": {**fields["feedforward"], "bias": bias},
    }


def helium(config: Any) -> Fields:
    """Return the fields of a ``HeliumConfig``."""
    fields = gated(config, config.hidden_act, config.rms_norm_eps)
    return fields | {
        "position": rope(config, "interleaved"),
        "attention": {**fields["attention"], "out_bias": False},
    }


def glm(config: Any) -> Fields:
    """Return the fields of a ``GlmConfig``: half of each head is rotated, neighbours paired."""
    fields = gated(config, config.hidden_act, config.rms_norm_eps)
    return fields | {
        "position": rope(config, "interleaved", partial=True),
        "attention": {**fields["attention"], "out_bias": False},
    }


def glm4(config: Any) -> Fields:
    """Return the fields of a ``Glm4Config``: GLM with norms on both sides of each branch."""
    return glm(config) | {"wiring": "double_norm"}


def granite(config: Any) -> Fields:
    """Return the fields of a ``GraniteConfig``: four multipliers."""
    fields = llama(config)
    return fields | {
        "attention": {**fields["attention"], "logit_scale": config.attention_multiplier},
        "residual": {"branch_scale": config.residual_multiplier},
        "embedding": {"scale": config.embedding_multiplier},
        "head": {**fields["head"], "scale": 1 / config.logits_scaling},
    }


def granite_swa(config: Any) -> Fields:
    """Return the fields of a ``GraniteSWAConfig``: Granite with sinks, and sliding layers."""
    fields = granite(config)
    kinds = every(layers(config), config.num_hidden_layers)
    bases = [base or None for base in config.layer_rope_theta]
    pattern = [{**kind, "position": base is not None} for kind, base in zip(kinds, bases, strict=True)]
    return fields | {
        "position": {**fields["position"], **_bases(kinds, bases)},
        "attention": {**fields["attention"], "sinks": "learned"},
        "pattern": repeating(pattern),
    }


def hyperclovax(config: Any) -> Fields:
    """Return the fields of a ``HyperCLOVAXConfig``: Granite, maybe with norms on both sides."""
    fields = granite(config)
    return fields | {
        "wiring": "double_norm" if config.use_post_norm else "pre_norm",
        "head": {**fields["head"], "scale": config.logits_scaling},
    }


def hunyuan(config: Any) -> Fields:
    """Return the fields of a ``HunYuanDenseV1Config``: QK-norm behind the rotation."""
    parameters = config.rope_parameters
    alpha = parameters.get("alpha") if parameters["rope_type"] == "dynamic" else None
    fields = gated(config, config.hidden_act, config.rms_norm_eps)
    fields["attention"] |= {"qk_norm": "head", "qk_norm_at": "post_rope"}
    if not alpha:
        return fields | {"position": rope(config)}
    # Whatever its length, the context is stretched as alpha says, which is a larger base alone.
    width = config.head_dim or config.hidden_size // config.num_attention_heads
    theta = parameters["rope_theta"] * alpha ** (width / (width - 2))
    return fields | {"seq_len": config.max_position_embeddings, "position": {"kind": "rope", "theta": theta}}


def vaultgemma(config: Any) -> Fields:
    """Return the fields of a ``VaultGemmaConfig``: Gemma 2 without norms behind the branches."""
    return gemma2(config) | {"wiring": "pre_norm"}


def bitnet(config: Any) -> Fields:
    """Return the fields of a ``BitNetConfig``, whose matrices are plain here: norms inside the branches."""
    require(config, quantization_config=None)
    fields = llama(config)
    return fields | {
        "attention": {**fields["attention"], "out_norm": True},
        "feedforward": {**fields["feedforward"], "mid_norm": True},
    }


def nanochat(config: Any) -> Fields:
    """Return the fields of a ``NanoChatConfig``: norms without gains, one behind the embedding."""
    fields = llama(config)
    norm = {"kind": "rmsnorm", "eps": config.rms_norm_eps, "gain": False}
    per_head = {"qk_norm": "head", "qk_norm_at": "post_rope", "qk_norm_config": norm}
    return fields | {
        "norm": norm,
        "attention": {**fields["attention"], **per_head},
        "feedforward": plain(config.hidden_act, config.intermediate_size, bias=False),
        "embedding": {"norm": True},
        "head": {**fields["head"], "softcap": config.final_logit_softcapping},
    }


def dots1(config: Any) -> Fields:
    """Return the fields of a ``Dots1Config`` without experts."""
    if config.first_k_dense_replace < config.num_hidden_layers:
        got, least = config.first_k_dense_replace, config.num_hidden_layers
        raise ConfigError(
            f"huggingface.first_k_dense_replace: got {got}; must be at least {least}: layers with experts "
            "cannot be expressed"
        )
    return qwen3(config)


def gpt_oss(config: Any) -> Fields:
    """Return the fields of a ``GptOssConfig`` with one expert, whose weight is 1: a dense sublayer."""
    require(config, num_local_experts=1, num_experts_per_tok=1)
    fields = llama(config)
    return fields | {
        "attention": {**fields["attention"], "sinks": "learned"},
        "feedforward": {
            "activation": "silu",
            "alpha": config.swiglu_alpha,
            "gated": True,
            "d_ff": config.intermediate_size,
            "bias": True,
            "clamp": config.swiglu_limit,
            "up_offset": 1.0,
        },
        "pattern": layers(config),
    }


def _bases(kinds: list[Fields], bases: list[float | None]) -> Fields:
    """Return the bases of full and of sliding layers, of which each may have one."""
    found = {
        span: {base for kind, base in zip(kinds, bases, strict=True) if base and (kind["span"] == span)}
        for span in ("full", "sliding")
    }
    for span, several in found.items():
        if len(several) > 1:
            got = ", ".join(f"{base:g}" for base in sorted(several))
            raise ConfigError(f"huggingface.layer_rope_theta: got {got} in {span} layers; must be one")
    full, sliding = (next(iter(found[span]), None) for span in ("full", "sliding"))
    own = sliding is not None and full is not None and sliding != full
    return {"theta": full or sliding, **({"theta_local": sliding} if own else {})}
