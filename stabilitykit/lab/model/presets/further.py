"""Further presets since 2022: each has one trait or two that the others lack."""

from stabilitykit.lab.model.presets.entry import Preset, Sizes
from stabilitykit.lab.nested import Fields, merged

_NORMAL: Fields = {"initialization": {"scheme": "normal"}}
_RMS: Fields = {"norm": {"kind": "rmsnorm", "eps": 1e-5}, "position": {"kind": "rope"}, **_NORMAL}
_LAYERNORM: Fields = {
    "norm": {"kind": "layernorm", "eps": 1e-5, "bias": True},
    "position": {"kind": "rope"},
    **_NORMAL,
}
_BIASES: Fields = {"qkv_bias": True, "out_bias": True}
_SLIDING: Fields = {"span": "sliding"}
_FULL: Fields = {"span": "full"}


def _llama3_rope(theta: float, factor: float) -> Fields:
    return {
        "kind": "rope",
        "theta": theta,
        "rescale": {"kind": "llama3", "factor": factor, "original_len": 8192},
    }


FURTHER: tuple[Preset, ...] = (
    Preset(
        "mpt",
        "MPT 7B: ALiBi, and no biases at all.",
        {
            "norm": {"kind": "layernorm", "eps": 1e-5},
            "position": {"kind": "alibi"},
            "feedforward": {"activation": "gelu", "gated": False},
            "head": {"tied": True},
            **_NORMAL,
        },
        Sizes(50_432, 4096, 32, 32, 16_384, 2048),
        ("transformers MptConfig", "sizes: the config.json of mosaicml/mpt-7b, as quoted in a public log"),
    ),
    Preset(
        "phi",
        "Phi-1.5: parallel branches behind one norm, half of each head rotated, biases everywhere.",
        merged(
            _LAYERNORM,
            {
                "order": "parallel",
                "shared_norm": True,
                "position": {"rotary_fraction": 0.5},
                "attention": _BIASES,
                "feedforward": {"activation": "gelu_tanh", "gated": False, "bias": True},
                "head": {"bias": True},
            },
        ),
        Sizes(51_200, 2048, 24, 32, 8192, 2048),
        ("transformers PhiConfig: hidden_act, partial_rotary_factor", "sizes: litgpt config.py, phi-1_5"),
    ),
    Preset(
        "stablelm",
        "StableLM 3B: LLaMA with LayerNorm, a quarter of each head rotated.",
        merged(_LAYERNORM, {"position": {"rotary_fraction": 0.25}}),
        Sizes(50_304, 2560, 32, 32, 6912, 4096),
        (
            "transformers StableLmConfig: use_parallel_residual, qk_layernorm, partial_rotary_factor",
            "sizes: litgpt config.py, stablelm-3b-4e1t",
        ),
    ),
    Preset(
        "starcoder2",
        "StarCoder2 3B: LayerNorm and biases everywhere, no gate; its window is left out.",
        merged(
            _LAYERNORM,
            {
                "attention": _BIASES,
                "feedforward": {"activation": "gelu_tanh", "gated": False, "bias": True},
                "head": {"tied": True},
            },
        ),
        Sizes(49_152, 3072, 30, 24, 12_288, 4096, n_kv_heads=2),
        ("transformers Starcoder2Config; sizes, context, rope_theta, sliding_window: the class's defaults",),
    ),
    Preset(
        "phi3",
        "Phi-3 mini 4k: LLaMA's design; its window is left out.",
        _RMS,
        Sizes(32_064, 3072, 32, 32, 8192, 4096),
        ("transformers Phi3Config", "sizes: litgpt config.py, Phi-3-mini-4k-instruct"),
    ),
    Preset(
        "llama3_1",
        "Llama 3.1 8B: Llama 3 with a stretched rope.",
        {**_RMS, "position": _llama3_rope(5e5, 8.0)},
        Sizes(128_256, 4096, 32, 32, 14_336, 131_072, n_kv_heads=8),
        ("transformers LlamaConfig", "rope, eps and sizes: litgpt config.py, Llama-3.1-8B"),
    ),
    Preset(
        "granite",
        "Granite 4.1 8B: multipliers on embedding, attention, branches and logits.",
        merged(
            _RMS,
            {
                "position": {"theta": 1e7},
                "attention": {"logit_scale": 0.0078125},
                "residual": {"branch_scale": 0.22},
                "embedding": {"scale": 12.0},
                "head": {"tied": True, "scale": 0.0625},
            },
        ),
        Sizes(100_352, 4096, 40, 32, 12_800, 131_072, n_kv_heads=8),
        (
            "transformers GraniteConfig: attention_multiplier, residual_multiplier, logits_scaling",
            "values: config.json of ibm-granite/granite-4.1-8b, as quoted in a public test; context: ours",
        ),
    ),
    Preset(
        "glm4",
        "GLM-4 9B: norms on both sides of each branch, half of each head rotated, neighbours paired.",
        merged(
            _RMS,
            {
                "wiring": "double_norm",
                "norm": {"eps": 1.5625e-07},
                "position": {"layout": "interleaved", "rotary_fraction": 0.5},
                "attention": {"qkv_bias": True},
            },
        ),
        Sizes(151_552, 4096, 40, 32, 13_696, 131_072, n_kv_heads=2, head_dim=128),
        ("transformers Glm4Config; sizes, eps, context: the class's defaults",),
    ),
    Preset(
        "smollm3",
        "SmolLM3 3B: every fourth layer has no position.",
        merged(
            _RMS,
            {
                "norm": {"eps": 1e-6},
                "position": {"theta": 2e6},
                "head": {"tied": True},
                "pattern": [_FULL, _FULL, _FULL, {"span": "full", "position": False}],
            },
        ),
        Sizes(128_256, 2048, 36, 16, 11_008, 32_768, n_kv_heads=4),
        (
            "transformers SmolLM3Config: no_rope_layer_interval",
            "sizes, context, rope_theta: the class's defaults; the release's rope_theta is 5e6",
        ),
        windows=(None, None, None, None),
    ),
    Preset(
        "exaone4",
        "EXAONE 4.0 32B: norms behind the branches; three sliding layers to one full without position.",
        {
            **_RMS,
            "wiring": "out_norm",
            "position": _llama3_rope(1e6, 16.0),
            "attention": {"qk_norm": "head"},
            "pattern": [_SLIDING, _SLIDING, _SLIDING, {"span": "full", "position": False}],
        },
        Sizes(102_400, 5120, 64, 40, 27_392, 131_072, n_kv_heads=8, head_dim=128),
        ("transformers Exaone4Config", "values: TensorRT-LLM's test of modeling_exaone4"),
        windows=(4096, 4096, 4096, None),
    ),
    Preset(
        "apertus",
        "Apertus 8B: xIELU without a gate, QK-norm.",
        {
            **_RMS,
            "position": _llama3_rope(1.2e7, 8.0),
            "attention": {"qk_norm": "head"},
            "feedforward": {"activation": "xielu", "gated": False},
        },
        Sizes(131_072, 4096, 32, 32, 14_336, 65_536),
        ("transformers ApertusConfig; sizes, context, rope: the class's defaults",),
    ),
    Preset(
        "gpt_oss",
        "gpt-oss 20B with one expert in place of 32: sinks, clamped gates, every other layer slides.",
        {
            **_RMS,
            "position": {
                "kind": "rope",
                "theta": 1.5e5,
                "rescale": {"kind": "yarn", "factor": 32.0, "original_len": 4096, "truncate": False},
            },
            "attention": {**_BIASES, "sinks": "learned"},
            "feedforward": {"alpha": 1.702, "clamp": 7.0, "up_offset": 1.0, "bias": True},
            "pattern": [_SLIDING, _FULL],
        },
        Sizes(201_088, 2880, 24, 64, 2880, 131_072, n_kv_heads=8, head_dim=64),
        (
            "transformers GptOssConfig: rope_parameters, swiglu_alpha, swiglu_limit, sliding_window",
            "sizes: docs.nvidia.com/nemo/megatron-bridge, GPT OSS 20B",
        ),
        windows=(128, None),
    ),
)
"""In the order of their appearance."""
