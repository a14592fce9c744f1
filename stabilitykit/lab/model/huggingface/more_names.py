"""Where more families of transformers models keep their weights."""

from torch import Tensor

from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.huggingface.names import (
    AFTER_BRANCH,
    CONV_BLOCK,
    FUSED_BLOCK,
    LAYER,
    LINEAR_BLOCK,
    OPT_BLOCK,
    llama_like,
    modules,
)
from stabilitykit.lab.model.huggingface.weights import Names, Taken


def _gate(tensor: Tensor, _config: TransformerConfig) -> Tensor:
    return tensor.chunk(2)[0]


def _up(tensor: Tensor, _config: TransformerConfig) -> Tensor:
    return tensor.chunk(2)[1]


def _only_gate(tensor: Tensor, _config: TransformerConfig) -> Tensor:
    """The one expert's matrices are stored (in, out), gate and up in turn."""
    return tensor[0].t()[0::2]


def _only_up(tensor: Tensor, _config: TransformerConfig) -> Tensor:
    return tensor[0].t()[1::2]


def _only(tensor: Tensor, _config: TransformerConfig) -> Tensor:
    return tensor[0].t()


def _turned_back(tensor: Tensor, config: TransformerConfig) -> Tensor:
    """Swap the halves of every head: turned the other way, they are what ours are turned this way."""
    halves = tensor.reshape(-1, 2, config.head_dim // 2, *tensor.shape[1:])
    return halves.flip(1).flatten(0, 2)


_FUSED_GATE = {
    "blocks.{i}.mlp.gate_proj.weight": Taken(f"{LAYER}.mlp.gate_up_proj.weight", _gate),
    "blocks.{i}.mlp.up_proj.weight": Taken(f"{LAYER}.mlp.gate_up_proj.weight", _up),
}
_EXPERTS = f"{LAYER}.mlp.experts"

GPT_BIGCODE = Names(
    modules(
        "transformer.wte", "transformer.h.{i}", CONV_BLOCK, "transformer.ln_f", position="transformer.wpe"
    ),
    fused="grouped",
)
GPT_NEO = Names(
    modules(
        "transformer.wte",
        "transformer.h.{i}",
        {
            **CONV_BLOCK,
            **{f"attn.{part}_proj": f"attn.attention.{part}_proj" for part in "qkv"},
            "attn.o_proj": "attn.attention.out_proj",
        },
        "transformer.ln_f",
        position="transformer.wpe",
    )
)
CODEGEN = Names(
    modules(
        "transformer.wte",
        "transformer.h.{i}",
        {
            "attn_norm": "ln_1",
            "attn.qkv": "attn.qkv_proj",
            "attn.o_proj": "attn.out_proj",
            "mlp.up_proj": "mlp.fc_in",
            "mlp.down_proj": "mlp.fc_out",
        },
        "transformer.ln_f",
    ),
    fused="sharded",
)
MPT = Names(
    modules(
        "transformer.wte",
        "transformer.blocks.{i}",
        {
            "attn_norm": "norm_1",
            "attn.qkv": "attn.Wqkv",
            "attn.o_proj": "attn.out_proj",
            "mlp_norm": "norm_2",
            "mlp.up_proj": "ffn.up_proj",
            "mlp.down_proj": "ffn.down_proj",
        },
        "transformer.norm_f",
    ),
    fused="stacked",
)
BIOGPT = Names(
    modules(
        "biogpt.embed_tokens",
        "biogpt.layers.{i}",
        OPT_BLOCK,
        "biogpt.layer_norm",
        head="output_projection",
        position="biogpt.embed_positions",
    ),
    position_offset=2,
)
XGLM = Names(modules("model.embed_tokens", LAYER, OPT_BLOCK, "model.layer_norm"))
CTRL = Names(
    modules(
        "transformer.w",
        "transformer.h.{i}",
        {
            "attn_norm": "layernorm1",
            **{f"attn.{part}_proj": f"multi_head_attention.W{part}" for part in "qkv"},
            "attn.o_proj": "multi_head_attention.dense",
            "mlp_norm": "layernorm2",
            "mlp.up_proj": "ffn.0",
            "mlp.down_proj": "ffn.2",
        },
        "transformer.layernorm",
    )
)
PHI = Names(
    modules(
        "model.embed_tokens",
        LAYER,
        {
            **LINEAR_BLOCK,
            "attn.o_proj": "self_attn.dense",
            **{f"attn.{part}_norm": f"self_attn.{part}_layernorm" for part in "qk"},
        },
        "model.final_layernorm",
    )
)
PERSIMMON = Names(
    modules(
        "model.embed_tokens",
        LAYER,
        {
            **{ours: theirs.replace("self_attention", "self_attn") for ours, theirs in FUSED_BLOCK.items()},
            **{f"attn.{part}_norm": f"self_attn.{part}_layernorm" for part in "qk"},
        },
        "model.final_layernorm",
    ),
    fused="grouped",
)
STABLELM = llama_like(
    taken={
        f"blocks.{{i}}.attn.{part}_norm.weight": Taken(
            f"{LAYER}.self_attn.{part}_layernorm.norms.{{h}}.weight"
        )
        for part in "qk"
    }
)
STARCODER2 = llama_like({"mlp.up_proj": "mlp.c_fc", "mlp.down_proj": "mlp.c_proj"})
PHI3 = llama_like({"attn.qkv": "self_attn.qkv_proj"}, fused="stacked", taken=_FUSED_GATE)
GLM = llama_like(taken=_FUSED_GATE)
GLM4 = llama_like(
    {"attn_out_norm": "post_self_attn_layernorm", "mlp_out_norm": "post_mlp_layernorm"}, taken=_FUSED_GATE
)
APERTUS = llama_like(
    {
        "attn_norm": "attention_layernorm",
        "mlp_norm": "feedforward_layernorm",
        "mlp.activation": "mlp.act_fn",
    },
    unused=("act_fn.beta", "act_fn.eps"),
)
EXAONE4 = llama_like(AFTER_BRANCH)
GRANITE_SWA = llama_like({"attn": "self_attn"})
HYPERCLOVAX = llama_like({"attn_out_norm": "post_norm1", "mlp_out_norm": "post_norm2"})
HUNYUAN = llama_like({"attn.q_norm": "self_attn.query_layernorm", "attn.k_norm": "self_attn.key_layernorm"})
VAULTGEMMA = llama_like({"mlp_norm": "pre_feedforward_layernorm"})
BITNET = llama_like({"attn.out_norm": "self_attn.attn_sub_norm", "mlp.mid_norm": "mlp.ffn_sub_norm"})
NANOCHAT = llama_like(
    {"mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2"},
    taken={
        f"blocks.{{i}}.attn.{part}_proj.{kind}": Taken(f"{LAYER}.self_attn.{part}_proj.{kind}", _turned_back)
        for part in "qk"
        for kind in ("weight", "bias")
    },
)
GPT_OSS = llama_like(
    {"attn": "self_attn"},
    taken={
        "blocks.{i}.mlp.gate_proj.weight": Taken(f"{_EXPERTS}.gate_up_proj", _only_gate),
        "blocks.{i}.mlp.gate_proj.bias": Taken(f"{_EXPERTS}.gate_up_proj_bias", _only_gate),
        "blocks.{i}.mlp.up_proj.weight": Taken(f"{_EXPERTS}.gate_up_proj", _only_up),
        "blocks.{i}.mlp.up_proj.bias": Taken(f"{_EXPERTS}.gate_up_proj_bias", _only_up),
        "blocks.{i}.mlp.down_proj.weight": Taken(f"{_EXPERTS}.down_proj", _only),
        "blocks.{i}.mlp.down_proj.bias": Taken(f"{_EXPERTS}.down_proj_bias", _only),
    },
    unused=("router.weight", "router.bias"),
)
