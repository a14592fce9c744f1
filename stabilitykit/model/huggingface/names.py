"""Where each family of transformers models keeps its weights."""

from collections.abc import Mapping

from stabilitykit.model.huggingface.weights import Names


def _modules(
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


_CONV_BLOCK = {
    "attn_norm": "ln_1",
    "attn.qkv": "attn.c_attn",
    "attn.o_proj": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up_proj": "mlp.c_fc",
    "mlp.down_proj": "mlp.c_proj",
}

_FUSED_BLOCK = {
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

_AFTER_BRANCH = {"attn_norm": "post_attention_layernorm", "mlp_norm": "post_feedforward_layernorm"}

_AROUND_BRANCH = {
    "attn_norm": "input_layernorm",
    "attn_out_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_out_norm": "post_feedforward_layernorm",
}

_DENSE_EXPERT = {f"mlp.{part}_proj": f"feed_forward.{part}_proj" for part in ("gate", "up", "down")}


def _llama_like(**replaced: str) -> Names:
    parts = {**_SPLIT_BLOCK, **replaced}
    return Names(_modules("model.embed_tokens", "model.layers.{i}", parts, "model.norm"))


GPT1 = Names(
    _modules(
        "transformer.tokens_embed",
        "transformer.h.{i}",
        _CONV_BLOCK,
        "transformer.ln_f",
        position="transformer.positions_embed",
    ),
    fused="stacked",
    transposed=True,
)
GPT2 = Names(
    _modules(
        "transformer.wte", "transformer.h.{i}", _CONV_BLOCK, "transformer.ln_f", position="transformer.wpe"
    ),
    fused="stacked",
    transposed=True,
)
OPT = Names(
    _modules(
        "model.decoder.embed_tokens",
        "model.decoder.layers.{i}",
        {
            "attn_norm": "self_attn_layer_norm",
            **{f"attn.{part}_proj": f"self_attn.{part}_proj" for part in "qkv"},
            "attn.o_proj": "self_attn.out_proj",
            "mlp_norm": "final_layer_norm",
            "mlp.up_proj": "fc1",
            "mlp.down_proj": "fc2",
        },
        "model.decoder.final_layer_norm",
        position="model.decoder.embed_positions",
    ),
    position_offset=2,
)
GPTJ = Names(
    _modules(
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
    _modules(
        "gpt_neox.embed_in",
        "gpt_neox.layers.{i}",
        {ours: theirs.replace("self_attention", "attention") for ours, theirs in _FUSED_BLOCK.items()},
        "gpt_neox.final_layer_norm",
    ),
    fused="grouped",
)
BLOOM = Names(
    _modules(
        "transformer.word_embeddings",
        "transformer.h.{i}",
        _FUSED_BLOCK,
        "transformer.ln_f",
        norm="transformer.word_embeddings_layernorm",
    ),
    fused="grouped",
)
FALCON = Names(
    _modules("transformer.word_embeddings", "transformer.h.{i}", _FUSED_BLOCK, "transformer.ln_f"),
    fused="grouped",
)
LLAMA = _llama_like()
OUT_NORM = _llama_like(**_AFTER_BRANCH)
DOUBLE_NORM = _llama_like(**_AROUND_BRANCH)
LLAMA4 = _llama_like(**_DENSE_EXPERT)
