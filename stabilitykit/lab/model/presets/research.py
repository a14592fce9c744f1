"""Presets of papers on stability: one change each, on a Llama."""

from typing import Any

from stabilitykit.lab.model.presets.entry import Preset, Sizes
from stabilitykit.lab.model.presets.modern import MODERN
from stabilitykit.lab.nested import merged

_LLAMA2 = next(each for each in MODERN if each.name == "llama2")


def _on_llama(
    name: str, about: str, source: str, fields: dict[str, Any], quarter: str | None = None
) -> Preset:
    whole = merged(_LLAMA2.fields, fields)
    return Preset(name, about, whole, _LLAMA2.release, (source,), first_quarter=quarter)


RESEARCH: tuple[Preset, ...] = (
    Preset(
        "deepnet",
        "DeepNet's decoder: a heavier residual stream in front of norms on the residual stream.",
        {
            "wiring": "deepnorm",
            "norm": {"kind": "layernorm", "eps": 1e-5, "bias": True},
            "position": {"kind": "sine"},
            "attention": {"qkv_bias": True, "out_bias": True},
            "feedforward": {"activation": "relu", "gated": False, "bias": True},
            "embedding": {"scale": "sqrt_d"},
            "initialization": {"scheme": "deepnorm"},
        },
        Sizes(32_000, 512, 100, 8, 2048, 512),
        ("Wang et al. 2022, arXiv 2203.00555; vocabulary and context: ours",),
        unit_embedding=True,
    ),
    _on_llama(
        "rezero",
        "No norms; every branch starts at zero behind one learned factor.",
        "Bachlechner et al. 2020, arXiv 2003.04887",
        {"wiring": "no_norm", "residual": {"gate": "scalar"}, "initialization": {"scheme": "xavier"}},
    ),
    _on_llama(
        "layerscale",
        "A learned factor for every feature of a branch, from 0.1.",
        "Touvron et al. 2021, arXiv 2103.17239",
        {"residual": {"gate": "vector", "gate_init": 0.1}},
    ),
    _on_llama(
        "normformer",
        "A norm behind attention and one before the last feed-forward matrix, a factor for every head.",
        "Shleifer et al. 2021, arXiv 2110.09456",
        {
            "norm": {"kind": "layernorm", "bias": True},
            "attention": {"wiring": "double_norm", "head_scale": True},
            "feedforward": {"mid_norm": True},
        },
    ),
    _on_llama(
        "subln",
        "Norms before the last matrix of each branch, wider values at the start.",
        "Wang et al. 2022 (Magneto), arXiv 2210.06423",
        {
            "norm": {"kind": "layernorm", "bias": True},
            "attention": {"out_norm": True},
            "feedforward": {"mid_norm": True},
            "initialization": {"scheme": "subln"},
        },
    ),
    _on_llama(
        "mix_ln",
        "Norms on the residual stream in the first quarter of the layers.",
        "Li et al. 2024, arXiv 2412.13795",
        {},
        quarter="post_norm",
    ),
    _on_llama(
        "lns",
        "What a branch reads is divided by the root of the layer's number.",
        "Sun et al. 2025, arXiv 2502.05795",
        {"residual": {"depth_scale": "inv_sqrt_layer"}},
    ),
    _on_llama(
        "hybridnorm",
        "Norms of queries, keys and values; in front of feed-forward a norm on the residual stream.",
        "Zhuo et al. 2025, arXiv 2503.04598",
        {
            "attention": {"wiring": "no_norm", "qk_norm": "head", "v_norm": True},
            "feedforward": {"wiring": "line_norm"},
        },
    ),
    _on_llama(
        "gpas",
        "The line is scaled down behind each branch, its gradients are not.",
        "Chen et al. 2025, arXiv 2506.22049",
        {"residual": {"gpas": True}},
    ),
    _on_llama(
        "dyt",
        "tanh(αx) in place of norms.",
        "Zhu et al. 2025, arXiv 2503.10622",
        {"norm": {"kind": "dyt", "alpha0": 0.5, "bias": True}},
    ),
    _on_llama(
        "derf",
        "erf(αx + s) in place of norms.",
        "Chen et al. 2025, arXiv 2512.10938",
        {"norm": {"kind": "derf", "alpha0": 0.5, "bias": True}},
    ),
    Preset(
        "ngpt",
        "nGPT: line and weights of unit length; here s_qk is one for q, one for k, and α may be negative.",
        {
            "wiring": "lerp",
            "norm": {"kind": "l2", "gain": False},
            "final_norm": False,
            "unit_weights": True,
            "position": {"kind": "rope"},
            "attention": {
                "qk_norm": "head",
                "qk_norm_at": "post_rope",
                "qk_norm_config": {"kind": "l2"},
                "qk_gain_per_head": True,
                "logit_scale": "sqrt_head_dim",
            },
            "feedforward": {"pre_scale": "sqrt_d", "pre_gain": True},
            "residual": {"gate": "vector", "gate_init": 0.05},
            "head": {"gain": True},
            "initialization": {"scheme": "normal"},
        },
        Sizes(32_000, 1024, 24, 16, 4096, 1024),
        (
            "Loshchilov et al. 2024, arXiv 2410.01131, the model of 0.5 B",
            "github.com/NVIDIA/ngpt model.py: factors, their starts and scales",
        ),
    ),
    _on_llama(
        "tfixup",
        "No norms, but small values at the start.",
        "Huang et al. 2020 (T-Fixup), proceedings.mlr.press/v119/huang20f.html",
        {"wiring": "no_norm", "initialization": {"scheme": "tfixup"}},
    ),
)
"""Each beside ``llama2`` shows what one change does."""
