"""Why a family of transformers models cannot be expressed here, as far as its configuration tells."""

from collections.abc import Iterator
from typing import Any

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")
_LATENT = ("kv_lora_rank", "q_lora_rank")
_RECURRENT = (
    "mamba_d_state",
    "mamba_n_heads",
    "ssm_state_size",
    "state_size",
    "linear_num_value_heads",
    "linear_attn_config",
    "conv_L_cache",
    "rescale_every",
    "lru_width",
    "qk_dim_factor",
)
_PLAIN_LAYERS = ("full_attention", "sliding_attention", "chunked_attention", "attention")


def reason(config: Any) -> str | None:
    """Return the first thing in a transformers configuration that has no fields here, in words.

    Args:
        config: A configuration whose ``model_type`` is not among the ``FAMILIES``.
    """
    return next(_reasons(config), None)


def _reasons(config: Any) -> Iterator[str]:
    for name in _RECURRENT:
        if _has(config, name):
            yield f"recurrent or convolutional layers ({name})"
    for kind in getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ():
        if kind not in _PLAIN_LAYERS:
            yield f"layers of another kind ({kind})"
    for name in _LATENT:
        if _has(config, name):
            yield f"latent attention ({name})"
    for name in _EXPERTS:
        got = getattr(config, name, None)
        if isinstance(got, int) and got > 1:
            yield f"experts ({name} {got})"
    if getattr(config, "ffn_config", None) is not None:
        yield "experts (ffn_config)"
    if _has(config, "type_vocab_size"):
        yield "embeddings of token types and a head with layers of its own (type_vocab_size)"
    if getattr(config, "is_encoder_decoder", False) or _has(config, "encoder_layers"):
        yield "attention to a second sequence (encoder)"
    for name in ("vision_config", "audio_config", "text_config", "audio_encoder"):
        if _has(config, name):
            yield f"a model around the language model ({name}): give its language model alone"


def _has(config: Any, name: str) -> bool:
    return bool(getattr(config, name, None))
