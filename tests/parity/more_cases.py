"""Further public classes to compare, as plain tuples of the fields of ``Case``: measure.py reads them."""

from typing import Any

_NEW = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
_WIDE = {**_NEW, "intermediate_size": 48, "max_position_embeddings": 32}
_SHARED = {**_WIDE, "num_key_value_heads": 2}
_SIZED = {**_SHARED, "head_dim": 10}
_EIGHT = {**_SHARED, "head_dim": 8}
_NUMBERED = {**_EIGHT, "bos_token_id": 0, "eos_token_id": 0}
_OLD = {
    "vocab_size": 61,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 32,
    "bos_token_id": None,
    "eos_token_id": None,
}
_MPT = {
    "vocab_size": 61,
    "d_model": 36,
    "n_heads": 6,
    "n_layers": 3,
    "max_seq_len": 32,
    "tie_word_embeddings": True,
}
_MULTIPLIED = {
    **_SHARED,
    "embedding_multiplier": 3.0,
    "logits_scaling": 0.7,
    "residual_multiplier": 0.4,
    "attention_multiplier": 0.3,
}


def _rope(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 100.0, **parameters}}


_SPANNED = {
    "rope_parameters": {
        "full_attention": {
            "rope_type": "yarn",
            "rope_theta": 100.0,
            "factor": 4.0,
            "original_max_position_embeddings": 8,
            "attention_factor": 1.2,
        },
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    }
}
_LINEAR_FULL = {
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "rope_theta": 100.0, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    }
}
_LLAMA3 = _rope(
    "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8
)
_YARN = _rope("yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=2.0, beta_slow=0.5)
_MSCALE = _rope(
    "yarn",
    factor=4.0,
    original_max_position_embeddings=16,
    beta_fast=2.0,
    beta_slow=0.5,
    mscale=2.0,
    mscale_all_dim=0.7,
    truncate=False,
)
_LISTS = {"short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [1.0, 2.0, 5.0, 9.0]}
_TEMPERED = _rope(
    "yarn",
    factor=4.0,
    original_max_position_embeddings=8,
    llama_4_scaling_beta=0.3,
    max_position_embeddings=32,
    beta_fast=2.0,
    beta_slow=0.5,
)

_RELEASED_LLAMA3_1 = {
    "vocab_size": 128_256,
    "intermediate_size": 14_336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5e5,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
_RELEASED_GRANITE = {
    "vocab_size": 100_352,
    "num_hidden_layers": 40,
    "intermediate_size": 12_800,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e7,
    "tie_word_embeddings": True,
    "attention_multiplier": 0.0078125,
    "embedding_multiplier": 12.0,
    "logits_scaling": 16.0,
    "residual_multiplier": 0.22,
}
_RELEASED_EXAONE4 = {
    "hidden_size": 5120,
    "intermediate_size": 27_392,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131_072,
    "rope_theta": 1e6,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 16.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
_RELEASED_MPT = {"vocab_size": 50_432, "d_model": 4096, "n_heads": 32, "n_layers": 32}
_RELEASED_GPT_OSS = {"num_hidden_layers": 24, "num_local_experts": 1, "num_experts_per_tok": 1}

CASES: tuple[tuple[Any, ...], ...] = (
    ("LlamaForCausalLM (rope linear)", "LlamaConfig", {**_SHARED, **_rope("linear", factor=4.0)}),
    (
        "LlamaForCausalLM (rope dynamic)",
        "LlamaConfig",
        {**_SHARED, "max_position_embeddings": 10, **_rope("dynamic", factor=3.0)},
    ),
    ("LlamaForCausalLM (rope llama3)", "LlamaConfig", {**_SHARED, **_LLAMA3}, "llama3_1", _RELEASED_LLAMA3_1),
    ("Qwen2ForCausalLM (rope yarn)", "Qwen2Config", {**_SHARED, **_YARN}),
    ("Qwen3ForCausalLM (rope yarn, mscale)", "Qwen3Config", {**_EIGHT, **_MSCALE}),
    (
        "Phi3ForCausalLM (rope longrope, long)",
        "Phi3Config",
        {**_SHARED, "original_max_position_embeddings": 16, **_rope("longrope", **_LISTS)},
    ),
    (
        "Phi3ForCausalLM (rope longrope, short)",
        "Phi3Config",
        {
            **_SHARED,
            "max_position_embeddings": 64,
            "original_max_position_embeddings": 32,
            **_rope("longrope", attention_factor=1.3, **_LISTS),
        },
    ),
    (
        "Olmo3ForCausalLM (rope yarn in full layers)",
        "Olmo3Config",
        {**_SHARED, "sliding_window": 7, **_SPANNED},
    ),
    (
        "Gemma3ForCausalLM (rope linear in full layers)",
        "Gemma3TextConfig",
        {
            **_SIZED,
            "num_hidden_layers": 6,
            "sliding_window": 7,
            "query_pre_attn_scalar": 10,
            **_LINEAR_FULL,
        },
    ),
    ("PhiForCausalLM", "PhiConfig", _WIDE, "phi"),
    ("PhiForCausalLM (qk-norm, grouped)", "PhiConfig", {**_SHARED, "qk_layernorm": True}),
    ("Phi3ForCausalLM", "Phi3Config", {**_SHARED, "sliding_window": 7}, "phi3"),
    (
        "Phi3ForCausalLM (partial)",
        "Phi3Config",
        {**_SHARED, **_rope("default", partial_rotary_factor=0.5)},
    ),
    ("StableLmForCausalLM", "StableLmConfig", {**_SHARED, "use_qkv_bias": True}, "stablelm"),
    (
        "StableLmForCausalLM (parallel, qk-norm)",
        "StableLmConfig",
        {**_SHARED, "use_parallel_residual": True, "qk_layernorm": True},
    ),
    ("Starcoder2ForCausalLM", "Starcoder2Config", {**_SHARED, "sliding_window": 7}, "starcoder2"),
    ("Starcoder2ForCausalLM (no biases)", "Starcoder2Config", {**_SHARED, "use_bias": False}),
    ("GPTBigCodeForCausalLM", "GPTBigCodeConfig", _OLD),
    ("GPTBigCodeForCausalLM (all heads)", "GPTBigCodeConfig", {**_OLD, "multi_query": False}),
    ("CodeGenForCausalLM", "CodeGenConfig", {**_OLD, "n_head": 4, "rotary_dim": 4}),
    (
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {
            "vocab_size": 61,
            "hidden_size": 32,
            "num_layers": 4,
            "num_heads": 4,
            "max_position_embeddings": 32,
            "window_size": 7,
            "attention_types": [[["global", "local"], 2]],
            "bos_token_id": None,
            "eos_token_id": None,
        },
    ),
    ("MptForCausalLM", "MptConfig", _MPT, "mpt", _RELEASED_MPT),
    (
        "MptForCausalLM (clipped, scaled)",
        "MptConfig",
        {**_MPT, "attn_config": {"clip_qkv": 0.4, "softmax_scale": 0.3}},
    ),
    ("BioGptForCausalLM", "BioGptConfig", {**_WIDE, "num_hidden_layers": 2}),
    (
        "XGLMForCausalLM",
        "XGLMConfig",
        {
            "vocab_size": 61,
            "d_model": 32,
            "num_layers": 4,
            "attention_heads": 4,
            "ffn_dim": 48,
            "max_position_embeddings": 32,
            "pad_token_id": None,
            "bos_token_id": None,
            "eos_token_id": None,
        },
    ),
    ("CTRLLMHeadModel", "CTRLConfig", {**_OLD, "dff": 48}),
    ("PersimmonForCausalLM", "PersimmonConfig", _WIDE),
    ("PersimmonForCausalLM (no qk-norm)", "PersimmonConfig", {**_WIDE, "qk_layernorm": False}),
    ("Jais2ForCausalLM", "Jais2Config", _SIZED),
    ("LlamaForCausalLM (InternLM3)", "InternLM3Config", {**_SIZED, "attention_bias": True, "mlp_bias": True}),
    ("LlamaForCausalLM (IQuest-Coder)", "IQuestCoderConfig", _SIZED),
    (
        "MinistralForCausalLM",
        "MinistralConfig",
        {
            **_SIZED,
            "sliding_window": 7,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    ("Ministral3ForCausalLM", "Ministral3Config", {**_EIGHT, "sliding_window": None, **_TEMPERED}),
    ("CwmForCausalLM", "CwmConfig", {**_NUMBERED, "sliding_window": 7, **_LLAMA3}),
    ("SmolLM3ForCausalLM", "SmolLM3Config", _SHARED, "smollm3"),
    (
        "SmolLM3ForCausalLM (sliding)",
        "SmolLM3Config",
        {**_SHARED, "use_sliding_window": True, "sliding_window": 7},
    ),
    ("Exaone4ForCausalLM", "Exaone4Config", {**_SHARED, "sliding_window": 7}, "exaone4", _RELEASED_EXAONE4),
    (
        "Exaone4ForCausalLM (full)",
        "Exaone4Config",
        {**_SHARED, "sliding_window": None, "layer_types": ["full_attention"] * 4},
    ),
    ("SeedOssForCausalLM", "SeedOssConfig", _SIZED),
    ("Ernie4_5ForCausalLM", "Ernie4_5Config", {**_SIZED, "use_bias": True}),
    ("HeliumForCausalLM", "HeliumConfig", _EIGHT),
    ("ArceeForCausalLM", "ArceeConfig", _SHARED),
    ("ApertusForCausalLM", "ApertusConfig", {**_SHARED, **_LLAMA3}, "apertus"),
    ("GlmForCausalLM", "GlmConfig", _EIGHT),
    ("Glm4ForCausalLM", "Glm4Config", _EIGHT, "glm4"),
    ("GraniteForCausalLM", "GraniteConfig", _MULTIPLIED, "granite", _RELEASED_GRANITE),
    (
        "GraniteSWAForCausalLM",
        "GraniteSWAConfig",
        {**_MULTIPLIED, "sliding_window": 7, "layer_rope_theta": [0, 50.0, 50.0, 50.0]},
    ),
    ("HyperCLOVAXForCausalLM", "HyperCLOVAXConfig", _MULTIPLIED),
    ("HunYuanDenseV1ForCausalLM", "HunYuanDenseV1Config", _EIGHT),
    (
        "HunYuanDenseV1ForCausalLM (rope alpha)",
        "HunYuanDenseV1Config",
        {**_EIGHT, **_rope("dynamic", factor=1.0, alpha=20.0)},
    ),
    (
        "VaultGemmaForCausalLM",
        "VaultGemmaConfig",
        {
            **_SIZED,
            "sliding_window": 7,
            "query_pre_attn_scalar": 3,
            "attn_logit_softcapping": 0.5,
            "final_logit_softcapping": 2.0,
        },
    ),
    ("BitNetForCausalLM", "BitNetConfig", _SHARED),
    ("NanoChatForCausalLM", "NanoChatConfig", _SHARED),
    (
        "Dots1ForCausalLM (dense)",
        "Dots1Config",
        {**_SIZED, "first_k_dense_replace": 4, "sliding_window": 7, "max_window_layers": 2},
    ),
    (
        "GptOssForCausalLM (one expert)",
        "GptOssConfig",
        {
            **_SIZED,
            "head_dim": 8,
            "sliding_window": 7,
            "num_local_experts": 1,
            "num_experts_per_tok": 1,
            "swiglu_limit": 0.8,
            **_rope("yarn", factor=4.0, original_max_position_embeddings=8, truncate=False),
        },
        "gpt_oss",
        _RELEASED_GPT_OSS,
    ),
)
