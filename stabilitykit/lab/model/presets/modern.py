"""Presets since LLaMA: rope and gated feed-forward sublayers nearly everywhere."""

from stabilitykit.lab.model.presets.entry import Preset, Sizes
from stabilitykit.lab.nested import Fields, merged

_NORMAL: Fields = {"initialization": {"scheme": "normal"}}
_LLAMA: Fields = {"norm": {"kind": "rmsnorm", "eps": 1e-5}, "position": {"kind": "rope"}, **_NORMAL}
_EPS6: Fields = {"norm": {"eps": 1e-6}}
_SLIDING: Fields = {"span": "sliding"}
_FULL: Fields = {"span": "full"}
_GEMMA: Fields = merged(
    _LLAMA,
    {
        "norm": {"eps": 1e-6, "gain_offset": 1.0},
        "feedforward": {"activation": "gelu_tanh"},
        "embedding": {"scale": "sqrt_d"},
        "head": {"tied": True},
    },
)
_OLMO2: Fields = merged(
    _LLAMA,
    {
        "wiring": "out_norm",
        "norm": {"eps": 1e-6},
        "position": {"theta": 5e5},
        "attention": {"qk_norm": "full"},
        "head": {"z_loss": 1e-5},
    },
)
_COHERE: Fields = {
    "order": "parallel",
    "shared_norm": True,
    "norm": {"kind": "layernorm", "eps": 1e-5},
    "position": {"kind": "rope", "layout": "interleaved", "theta": 5e5},
    "head": {"tied": True, "scale": 0.0625},
    **_NORMAL,
}

MODERN: tuple[Preset, ...] = (
    Preset(
        "llama2",
        "Llama 2 7B; LLaMA 1, Yi and DeepSeek 67B share its design.",
        _LLAMA,
        Sizes(32_000, 4096, 32, 32, 11_008, 4096),
        ("transformers LlamaConfig: hidden_act", "eps, context, sizes: litgpt config.py, Llama-2-7b-hf"),
    ),
    Preset(
        "llama3",
        "Llama 3 8B: grouped heads, slower rope.",
        merged(_LLAMA, {"position": {"theta": 5e5}}),
        Sizes(128_256, 4096, 32, 32, 14_336, 8192, n_kv_heads=8),
        ("transformers LlamaConfig", "rope_theta, eps, sizes: litgpt config.py, Llama-3-8B"),
    ),
    Preset(
        "mistral",
        "Mistral 7B v0.1: every layer slides.",
        {**_LLAMA, "pattern": [_SLIDING]},
        Sizes(32_000, 4096, 32, 32, 14_336, 32_768, n_kv_heads=8),
        (
            "transformers MistralConfig: sliding_window",
            "eps, context, sizes: litgpt config.py, Mistral-7B-v0.1",
        ),
        windows=(4096,),
    ),
    Preset(
        "qwen2",
        "Qwen2.5 7B, and Qwen2's design: biases on queries, keys and values.",
        merged(_LLAMA, {"norm": {"eps": 1e-6}, "position": {"theta": 1e6}, "attention": {"qkv_bias": True}}),
        Sizes(152_064, 3584, 28, 28, 18_944, 131_072, n_kv_heads=4),
        ("transformers Qwen2Config", "rope_theta, eps, context, sizes: litgpt config.py, Qwen2.5-7B"),
    ),
    Preset(
        "qwen3",
        "Qwen3 8B: a norm for every head's queries and keys.",
        merged(_LLAMA, {"norm": {"eps": 1e-6}, "position": {"theta": 1e6}, "attention": {"qk_norm": "head"}}),
        Sizes(151_936, 4096, 36, 32, 12_288, 40_960, n_kv_heads=8, head_dim=128),
        ("transformers Qwen3Config", "rope_theta, eps, context, sizes: litgpt config.py, Qwen3-8B"),
    ),
    Preset(
        "gemma",
        "Gemma 7B: gains stored as differences from 1, embeddings times √d.",
        _GEMMA,
        Sizes(256_000, 3072, 28, 16, 24_576, 8192, head_dim=256),
        ("transformers GemmaConfig: hidden_act, head_dim, rms_norm_eps", "sizes: litgpt config.py, Gemma-7b"),
    ),
    Preset(
        "gemma2",
        "Gemma 2 2B: norms on both sides of each branch, capped logits, every other layer slides.",
        merged(
            _GEMMA,
            {
                "wiring": "double_norm",
                "attention": {"softcap": 50.0},
                "head": {"softcap": 30.0},
                "pattern": [_SLIDING, _FULL],
            },
        ),
        Sizes(256_000, 2304, 26, 8, 9216, 8192, n_kv_heads=4, head_dim=256),
        (
            "transformers Gemma2Config: attn_logit_softcapping, final_logit_softcapping, layer_types",
            "caps, window, context, sizes: litgpt config.py, Gemma-2-2b",
        ),
        windows=(4096, None),
    ),
    Preset(
        "gemma3",
        "Gemma 3 4B: QK-norm for the caps, five sliding layers to one full, each with its own rope.",
        merged(
            _GEMMA,
            {
                "wiring": "double_norm",
                "position": {
                    "theta": 1e6,
                    "theta_local": 1e4,
                    "rescale": {"kind": "linear", "factor": 8.0},
                    "rescale_local": False,
                },
                "attention": {"qk_norm": "head", "qk_norm_config": {"eps": 1e-6, "gain_offset": 1.0}},
                "pattern": [*[_SLIDING] * 5, _FULL],
            },
        ),
        Sizes(262_144, 2560, 34, 8, 10_240, 131_072, n_kv_heads=4, head_dim=256),
        ("transformers Gemma3TextConfig", "rope, windows, sizes: litgpt config.py, Gemma-3-4b-it"),
        windows=(*[1024] * 5, None),
    ),
    Preset(
        "olmo1",
        "OLMo 7B: LayerNorm without gain and bias.",
        {**_LLAMA, "norm": {"kind": "layernorm", "eps": 1e-5, "gain": False}},
        Sizes(50_304, 4096, 32, 32, 11_008, 2048),
        ("transformers OlmoConfig, OlmoLayerNorm: clip_qkv None", "sizes: litgpt config.py, OLMo-7B-hf"),
    ),
    Preset(
        "olmo2",
        "OLMo 2 7B: norms behind the branches, full-width QK-norm, z-loss.",
        _OLMO2,
        Sizes(100_352, 4096, 32, 32, 11_008, 4096),
        (
            "transformers Olmo2Config",
            "eps, rope_theta, sizes: litgpt config.py, OLMo-2-1124-7B",
            "z-loss, initialization: OLMo 2, arXiv 2501.00656",
        ),
    ),
    Preset(
        "olmo3",
        "OLMo 3 7B: OLMo 2 with three sliding layers to one full, whose rope is stretched.",
        merged(
            _OLMO2,
            {
                "position": {
                    "rescale": {
                        "kind": "yarn",
                        "factor": 8.0,
                        "original_len": 8192,
                        "attention_factor": 1.2079441541679836,
                    },
                    "rescale_local": False,
                },
                "pattern": [_SLIDING, _SLIDING, _SLIDING, _FULL],
            },
        ),
        Sizes(100_278, 4096, 32, 32, 11_008, 65_536),
        (
            "transformers Olmo3Config: layer_types",
            "rope: config.json of the release, as quoted in public tests; eps, sizes, context: not verified",
        ),
        windows=(4096, 4096, 4096, None),
    ),
    Preset(
        "grok1",
        "Grok-1 with one expert's width in place of eight experts.",
        merged(
            _LLAMA,
            {
                "wiring": "double_norm",
                "attention": {"softcap": 30.0},
                "feedforward": {"activation": "gelu_tanh"},
                "embedding": {"scale": "sqrt_d"},
                "head": {"tied": True, "scale": 0.5773502691896257},
            },
        ),
        Sizes(131_072, 6144, 64, 48, 32_768, 8192, n_kv_heads=8, head_dim=128),
        ("github.com/xai-org/grok-1 run.py, model.py: embedding_multiplier_scale, output_multiplier_scale",),
    ),
    Preset(
        "nemotron4",
        "Nemotron-4 15B: squared ReLU without a gate, half of each head rotated.",
        {
            "norm": {"kind": "layernorm", "eps": 1e-5, "bias": True, "gain_offset": 1.0},
            "position": {"kind": "rope", "rotary_fraction": 0.5},
            "feedforward": {"activation": "relu2", "gated": False},
            "initialization": {"scheme": "normal", "std": 0.0134},
        },
        Sizes(256_000, 6144, 32, 48, 24_576, 4096, n_kv_heads=8),
        (
            "transformers NemotronConfig: norm_eps, hidden_act, partial_rotary_factor, initializer_range",
            "sizes: Parmar et al. 2024, arXiv 2402.16819",
        ),
    ),
    Preset(
        "cohere",
        "Command R: parallel branches behind one LayerNorm without bias.",
        _COHERE,
        Sizes(256_000, 8192, 40, 64, 22_528, 8192),
        ("transformers CohereConfig: logit_scale, layer_norm_eps, default_theta",),
    ),
    Preset(
        "command_a",
        "Command A's design: three sliding layers with rope to one full layer without positions.",
        merged(
            _COHERE,
            {
                "position": {"theta": 1e4},
                "pattern": [_SLIDING, _SLIDING, _SLIDING, {"span": "full", "position": False}],
            },
        ),
        Sizes(256_000, 8192, 40, 64, 22_528, 8192),
        ("transformers Cohere2Config: layer_types, sliding_window; sizes, rope_theta: the class's defaults",),
        windows=(4096, 4096, 4096, None),
    ),
    Preset(
        "llama4",
        "Llama 4 Scout's attention with dense feed-forward: three chunked layers to one without positions.",
        merged(
            _LLAMA,
            {
                "position": {"layout": "interleaved", "theta": 5e5},
                "attention": {
                    "qk_norm": "head",
                    "qk_norm_at": "post_rope",
                    "qk_norm_config": {"gain": False, "eps": 1e-5},
                    "temperature_floor": 8192,
                },
                "pattern": [
                    *[{"span": "chunked"}] * 3,
                    {"span": "full", "position": False, "qk_norm": False},
                ],
            },
        ),
        Sizes(202_048, 5120, 48, 40, 16_384, 131_072, n_kv_heads=8, head_dim=128),
        ("transformers Llama4TextConfig: attention_chunk_size, no_rope_layers, floor_scale, attn_scale",),
        windows=(8192, 8192, 8192, None),
    ),
)
"""In the order of their appearance; the tests know how many parameters most of the releases have."""
