"""Presets from 2017 to PaLM: mostly LayerNorm and plain feed-forward sublayers."""

from stabilitykit.lab.model.presets.entry import Preset, Sizes
from stabilitykit.lab.nested import Fields, merged

_LAYERNORM: Fields = {"kind": "layernorm", "eps": 1e-5, "bias": True}
_BIASES: Fields = {"qkv_bias": True, "out_bias": True}
_DROPOUT: Fields = {
    "attention": {"dropout": 0.1},
    "residual": {"dropout": 0.1},
    "embedding": {"dropout": 0.1},
}
_NORMAL: Fields = {"initialization": {"scheme": "normal"}}
_TIED: Fields = {"head": {"tied": True}}


def _plain(activation: str, bias: bool = True) -> Fields:
    return {"activation": activation, "gated": False, "bias": bias}


_GPT: Fields = merged(_DROPOUT, _TIED) | {
    "norm": _LAYERNORM,
    "position": {"kind": "learned"},
    "attention": {**_BIASES, "dropout": 0.1},
    "feedforward": _plain("gelu_tanh"),
}
_OPT: Fields = {
    "norm": _LAYERNORM,
    "position": {"kind": "learned"},
    "attention": _BIASES,
    "feedforward": _plain("relu"),
    "residual": {"dropout": 0.1},
    **_TIED,
    **_NORMAL,
}
_T5: Fields = merged(
    _DROPOUT,
    {
        "norm": {"kind": "rmsnorm", "eps": 1e-6},
        "position": {"kind": "t5_bias", "buckets": 32, "max_distance": 128},
        "attention": {"logit_scale": "none"},
        "feedforward": {"dropout": 0.1},
        "initialization": {"scheme": "t5"},
    },
)

CLASSIC: tuple[Preset, ...] = (
    Preset(
        "original",
        "The Transformer of 2017, its decoder alone.",
        merged(
            _DROPOUT,
            {
                "wiring": "post_norm",
                "norm": _LAYERNORM,
                "position": {"kind": "sine"},
                "feedforward": _plain("relu"),
                "embedding": {"scale": "sqrt_d"},
                "head": {"tied": True},
                "initialization": {"scheme": "xavier"},
            },
        ),
        Sizes(37_000, 512, 6, 8, 2048, 512),
        ("Vaswani et al. 2017, arXiv 1706.03762", "context length, eps and initialization: not in the paper"),
        unit_embedding=True,
    ),
    Preset(
        "gpt1",
        "OpenAI GPT: norms on the residual stream.",
        {"wiring": "post_norm", **_GPT, **_NORMAL},
        Sizes(40_478, 768, 12, 12, 3072, 512),
        ("transformers OpenAIGPTConfig: afn (its gelu is the tanh form), *_pdrop, layer_norm_epsilon",),
    ),
    Preset(
        "gpt2",
        "GPT-2 small; GPT-3 dense is the same but for size.",
        {**_GPT, "initialization": {"scheme": "gpt2"}},
        Sizes(50_257, 768, 12, 12, 3072, 1024),
        ("transformers GPT2Config: activation_function, *_pdrop, layer_norm_epsilon, tie_word_embeddings",),
    ),
    Preset(
        "opt",
        "OPT-125M.",
        _OPT,
        Sizes(50_272, 768, 12, 12, 3072, 2048),
        ("transformers OPTConfig: do_layer_norm_before, activation_function, dropout, init_std",),
    ),
    Preset(
        "opt_post",
        "OPT-350M, the one with norms on the residual stream; its narrower embedding is left out.",
        {**_OPT, "wiring": "post_norm"},
        Sizes(50_272, 1024, 24, 16, 4096, 2048),
        ("transformers OPTConfig: do_layer_norm_before=False",),
    ),
    Preset(
        "gptj",
        "GPT-J 6B: parallel branches behind one norm.",
        {
            "order": "parallel",
            "shared_norm": True,
            "norm": _LAYERNORM,
            "position": {"kind": "rope", "layout": "interleaved", "rotary_fraction": 0.25},
            "feedforward": _plain("gelu_tanh"),
            "head": {"bias": True},
            **_NORMAL,
        },
        Sizes(50_400, 4096, 28, 16, 16_384, 2048),
        ("transformers GPTJConfig: rotary_dim 64 of 256, activation_function, n_embd, n_head",),
    ),
    Preset(
        "gpt_neox",
        "GPT-NeoX 20B: parallel branches, each behind its own norm.",
        {
            "order": "parallel",
            "norm": _LAYERNORM,
            "position": {"kind": "rope", "rotary_fraction": 0.25},
            "attention": _BIASES,
            "feedforward": _plain("gelu"),
            "initialization": {"scheme": "wang"},
        },
        Sizes(50_432, 6144, 44, 64, 24_576, 2048),
        (
            "transformers GPTNeoXConfig: use_parallel_residual, partial_rotary_factor, hidden_act",
            "initialization: Black et al. 2022, arXiv 2204.06745",
        ),
    ),
    Preset(
        "bloom",
        "BLOOM 176B: ALiBi, and a norm behind the embedding.",
        {
            "norm": _LAYERNORM,
            "position": {"kind": "alibi"},
            "attention": _BIASES,
            "feedforward": _plain("gelu_tanh"),
            "embedding": {"norm": True},
            **_TIED,
            **_NORMAL,
        },
        Sizes(250_880, 14_336, 70, 112, 57_344, 2048),
        (
            "transformers BloomConfig: apply_residual_connection_post_layernorm=False, layer_norm_epsilon",
            "sizes: Le Scao et al. 2022, arXiv 2211.05100",
        ),
    ),
    Preset(
        "falcon",
        "Falcon 7B: parallel branches behind one norm, one key and value head.",
        {
            "order": "parallel",
            "shared_norm": True,
            "norm": _LAYERNORM,
            "position": {"kind": "rope"},
            "feedforward": _plain("gelu", bias=False),
            **_TIED,
            **_NORMAL,
        },
        Sizes(65_024, 4544, 32, 71, 18_176, 2048, n_kv_heads=1),
        (
            "transformers FalconConfig: multi_query, parallel_attn, bias, activation",
            "sizes, context: litgpt config.py, falcon-7b",
        ),
    ),
    Preset(
        "palm",
        "PaLM 540B.",
        {
            "order": "parallel",
            "shared_norm": True,
            "norm": {"kind": "layernorm", "eps": 1e-5},
            "position": {"kind": "rope"},
            "head": {"tied": True, "scale": "rsqrt_d", "z_loss": 1e-4},
            "initialization": {"scheme": "fan_in", "embed_std": 1.0},
        },
        Sizes(256_000, 18_432, 118, 48, 73_728, 2048, n_kv_heads=1, head_dim=256),
        (
            "Chowdhery et al. 2022, arXiv 2204.02311",
            "norm: the paper's text, where tables say RMSNorm; eps: ours",
        ),
    ),
    Preset(
        "t5",
        "T5 small: the decoder's self-attention stack alone.",
        merged(_T5, {"feedforward": _plain("relu", bias=False), "head": {"tied": True, "scale": "rsqrt_d"}}),
        Sizes(32_128, 512, 6, 8, 2048, 512, head_dim=64),
        ("transformers T5Config: relative_attention_*, feed_forward_proj, layer_norm_epsilon, dropout_rate",),
    ),
    Preset(
        "t5_v1_1",
        "T5 v1.1 base: gated and untied; the decoder's self-attention stack alone.",
        merged(_T5, {"feedforward": {"activation": "gelu_tanh", "gated": True}}),
        Sizes(32_128, 768, 12, 12, 2048, 512, head_dim=64),
        ("transformers T5Config: feed_forward_proj='gated-gelu', tie_word_embeddings=False",),
    ),
)
"""In the order of their appearance."""
