"""Why a family of transformers models cannot be expressed here, as far as its configuration tells."""

from collections.abc import Iterator
from typing import Any

_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "recurrent or convolutional layers",
        (
            "mamba_d_state",
            "mamba_n_heads",
            "ssm_state_size",
            "state_size",
            "linear_num_value_heads",
            "conv_L_cache",
            "rescale_every",
            "lru_width",
            "qk_dim_factor",
            "mem_len",
        ),
    ),
    ("latent attention", ("kv_lora_rank", "q_lora_rank")),
    ("a difference of two attentions", ("lambda_std_dev",)),
    ("attention by hashes", ("num_hashes",)),
    ("further embeddings in every layer", ("hidden_size_per_layer_input",)),
    ("layers that are gone through several times", ("H_cycles",)),
    ("positions of several axes", ("mrope_section",)),
    ("several tokens at a time", ("num_codebooks", "patcher_config")),
    ("embeddings of token types, languages or segments", ("type_vocab_size", "n_langs", "segment_types")),
    ("attention to a second sequence", ("encoder_layers", "cross_attention_hidden_size")),
)
"""What has no fields here, and the fields of theirs that tell of it, in the order in which they are asked."""

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_PLAIN_LAYERS = ("full_attention", "sliding_attention", "chunked_attention", "attention")
_PARTS = ("vision_config", "audio_config", "audio_encoder", "text_config")


def reason(config: Any) -> str | None:
    """Return the first thing in a transformers configuration that has no fields here, in words.

    Args:
        config: A configuration whose ``model_type`` is not among the ``FAMILIES``.
    """
    return next(_reasons(config), None)


def _reasons(config: Any) -> Iterator[str]:
    if getattr(config, "is_encoder_decoder", False):
        yield "attention to a second sequence (is_encoder_decoder)"
    for name in _PARTS:
        if _has(config, name):
            yield f"a model around the language model ({name}): give its language model alone"
    for words, names in _SIGNS:
        for name in names:
            if _has(config, name):
                yield f"{words} ({name})"
    for kind in getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ():
        if kind not in _PLAIN_LAYERS:
            yield f"layers of another kind ({kind})"
    for name in _EXPERTS:
        got = getattr(config, name, None)
        if isinstance(got, int) and got > 1:
            yield f"experts ({name} {got})"
    if _has(config, "ffn_config"):
        yield "experts (ffn_config)"


def _has(config: Any, name: str) -> bool:
    return bool(getattr(config, name, None))
