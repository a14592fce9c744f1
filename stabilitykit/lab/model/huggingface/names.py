"""Where each family of transformers models keeps its weights."""

from collections.abc import Mapping
from typing import Literal

from stabilitykit.lab.model.huggingface.weights import Names, Taken


def modules(
    embed: str, block: str, parts: Mapping[str, str], final: str, head: str = "lm_head", **more: str
) -> dict[str, tuple[str, ...]]:
    """Return our modules' paths to theirs.

    Args:
        embed: Their token embedding.
        block: Their block, with ``{i}``.
        parts: Our module inside a block to theirs; alternatives are parted by ``|``.
        final: Their norm before the head.
        head: Their head.
        **more: Our module inside ``embed`` to theirs.
    """
    paths = {f"blocks.{{i}}.{ours}": tuple(f"{block}.{each}" for each in theirs.split("|"))
             for ours, theirs in parts.items()}  # fmt: skip
    ends = {"embed.token": (embed,), "final_norm": (final,), "head.linear": (head,)}
    return {**ends, **{f"embed.{ours}": (theirs,) for ours, theirs in more.items()}, **paths}


CONV_BLOCK = {
    "attn_norm": "ln_1",
    "attn.qkv": "attn.c_attn",
    "attn.o_proj": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up_proj": "mlp.c_fc",
    "mlp.down_proj": "mlp.c_proj",
}

FUSED_BLOCK = {
    "attn_norm": "input_layernorm|ln_attn",
    "mlp_norm": "post_attention_layernorm|ln_mlp",
    "attn.qkv": "self_attention.query_key_value",
    "attn.o_proj": "self_attention.dense",
    "mlp.up_proj": "mlp.dense_h_to_4h",
    "mlp.down_proj": "mlp.dense_4h_to_h",
}

_SPLIT_BLOCK = {
    "attn_norm": "input_layernorm",
    **{f"attn.{part}_proj": f"self_attn.{part}_proj" for part in "qkvo"},
    **{f"attn.{part}_norm": f"self_attn.{part}_norm" for part in "qk"},
    "mlp_norm": "post_attention_layernorm",
    **{f"mlp.{part}_proj": f"mlp.{part}_proj" for part in ("gate", "up", "down")},
}

OPT_BLOCK = {
    "attn_norm": "self_attn_layer_norm",
    **{f"attn.{part}_proj": f"self_attn.{part}_proj" for part in "qkv"},
    "attn.o_proj": "self_attn.out_proj",
    "mlp_norm": "final_layer_norm",
    "mlp.up_proj": "fc1",
    "mlp.down_proj": "fc2",
}

LINEAR_BLOCK = {
    "attn_norm": "input_layernorm",
    **{f"attn.{part}_proj": f"self_attn.{part}_proj" for part in "qkv"},
    "mlp.up_proj": "mlp.fc1",
    "mlp.down_proj": "mlp.fc2",
}

AFTER_BRANCH = {"attn_norm": "post_attention_layernorm", "mlp_norm": "post_feedforward_layernorm"}

_AROUND_BRANCH = {
    "attn_norm": "input_layernorm",
    "attn_out_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_out_norm": "post_feedforward_layernorm",
}

_DENSE_EXPERT = {f"mlp.{part}_proj": f"feed_forward.{part}_proj" for part in ("gate", "up", "down")}


LAYER = "model.layers.{i}"
"""Where most families since LLaMA keep a block."""


def llama_like(
    replaced: Mapping[str, str] | None = None,
    fused: Literal["none", "stacked"] = "none",
    taken: Mapping[str, Taken] | None = None,
    unused: tuple[str, ...] = (),
) -> Names:
    """Return the names of LLaMA's family, with some replaced.

    Args:
        replaced: Our module inside a block to theirs.
        fused: As in ``Names``.
        taken: As in ``Names``.
        unused: As in ``Names``.
    """
    parts = {**_SPLIT_BLOCK, **(replaced or {})}
    paths = modules("model.embed_tokens", LAYER, parts, "model.norm")
    return Names(paths, fused=fused, taken=taken or {}, unused=unused)


GPT1 = Names(
    modules(
        "transformer.tokens_embed",
        "transformer.h.{i}",
        CONV_BLOCK,
        "transformer.ln_f",
        position="transformer.positions_embed",
    ),
    fused="stacked",
    transposed=True,
)
GPT2 = Names(
    modules(
        "transformer.wte", "transformer.h.{i}", CONV_BLOCK, "transformer.ln_f", position="transformer.wpe"
    ),
    fused="stacked",
    transposed=True,
)
OPT = Names(
    modules(
        "model.decoder.embed_tokens",
        "model.decoder.layers.{i}",
        OPT_BLOCK,
        "model.decoder.final_layer_norm",
        position="model.decoder.embed_positions",
    ),
    position_offset=2,
)
GPTJ = Names(
    modules(
        "transformer.wte",
        "transformer.h.{i}",
        {
            "attn_norm": "ln_1",
            **{f"attn.{part}_proj": f"attn.{part}_proj" for part in "qkv"},
            "attn.o_proj": "attn.out_proj",
            "mlp.up_proj": "mlp.fc_in",
            "mlp.down_proj": "mlp.fc_out",
        },
        "transformer.ln_f",
    )
)
GPT_NEOX = Names(
    modules(
        "gpt_neox.embed_in",
        "gpt_neox.layers.{i}",
        {ours: theirs.replace("self_attention", "attention") for ours, theirs in FUSED_BLOCK.items()},
        "gpt_neox.final_layer_norm",
    ),
    fused="grouped",
)
BLOOM = Names(
    modules(
        "transformer.word_embeddings",
        "transformer.h.{i}",
        FUSED_BLOCK,
        "transformer.ln_f",
        norm="transformer.word_embeddings_layernorm",
    ),
    fused="grouped",
)
FALCON = Names(
    modules("transformer.word_embeddings", "transformer.h.{i}", FUSED_BLOCK, "transformer.ln_f"),
    fused="grouped",
)
LLAMA = llama_like()
OUT_NORM = llama_like(AFTER_BRANCH)
DOUBLE_NORM = llama_like(_AROUND_BRANCH)
LLAMA4 = llama_like(_DENSE_EXPERT)
