"""How fast the model is: paired ratios of a forward and backward to the same architecture elsewhere.

A Llama-like model (RMSNorm before each branch, rope, SwiGLU, no biases) against transformers' and
x-transformers' own, and a GPT-2-like one (LayerNorm, learned positions, biases, GELU, tied head) against
transformers'. All run torch's fused attention, end in F.cross_entropy and have the same parameters, but for
the biases of x-transformers' gates, which cannot be left out. A ratio below 1 means that ours is faster.

    pip install -r benchmarks/speed/requirements.txt -c constraints.txt
    python -m benchmarks.speed.model_speed
    python -m benchmarks.speed.model_speed --widths 256 --families llama
"""

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
import transformers
import x_transformers
from torch import Tensor, nn

from benchmarks.speed.paired import paired_times
from stabilitykit.lab.cost.spread import median_ratio
from stabilitykit.lab.model import Transformer, TransformerConfig

LAYERS, HEADS, VOCABULARY = 4, 4, 256
Models = dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]]
"""By name, a model and how it turns tokens into logits."""


def llama_like(d_model: int, length: int) -> Models:
    """Return a Llama-like model of ours, transformers' and x-transformers'."""
    d_ff = 11 * d_model // 4
    ours = Transformer(
        TransformerConfig.model_validate(
            {
                "vocab_size": VOCABULARY,
                "d_model": d_model,
                "n_layers": LAYERS,
                "seq_len": length,
                "position": {"kind": "rope"},
                "attention": {"n_heads": HEADS},
                "feedforward": {"d_ff": d_ff},
            }
        )
    )
    hf = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=d_model,
            intermediate_size=d_ff,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=length,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )
    x = x_transformers.TransformerWrapper(
        num_tokens=VOCABULARY,
        max_seq_len=length,
        use_abs_pos_emb=False,
        attn_layers=x_transformers.Decoder(
            dim=d_model,
            depth=LAYERS,
            heads=HEADS,
            attn_dim_head=d_model // HEADS,
            attn_flash=True,
            rotary_pos_emb=True,
            rotary_emb_dim=d_model // HEADS,
            use_rmsnorm=True,
            ff_glu=True,
            ff_swish=True,
            ff_no_bias=True,
            ff_mult=d_ff / d_model,
        ),
    )
    return {"ours": (ours, ours), "transformers": (hf, lambda t: hf(t).logits), "x-transformers": (x, x)}


def gpt2_like(d_model: int, length: int) -> Models:
    """Return a GPT-2-like model of ours and transformers'; x-transformers has no biases in attention."""
    ours = Transformer(
        TransformerConfig.model_validate(
            {
                "vocab_size": VOCABULARY,
                "d_model": d_model,
                "n_layers": LAYERS,
                "seq_len": length,
                "norm": {"kind": "layernorm", "bias": True},
                "position": {"kind": "learned"},
                "attention": {"n_heads": HEADS, "qkv_bias": True, "out_bias": True},
                "feedforward": {"activation": "gelu_tanh", "gated": False, "bias": True},
                "head": {"tied": True},
            }
        )
    )
    hf = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=d_model,
            n_layer=LAYERS,
            n_head=HEADS,
            n_positions=length,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )
    return {"ours": (ours, ours), "transformers": (hf, lambda t: hf(t).logits)}


FAMILIES = {"llama": llama_like, "gpt2": gpt2_like}


def training_call(logits: Callable[[Tensor], Tensor], model: nn.Module, tokens: Tensor) -> Callable[[], None]:
    """Return one forward and backward on fixed tokens."""

    def run() -> None:
        F.cross_entropy(logits(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        model.zero_grad()

    return run


def compare(family: str, d_model: int, length: int, batch: int, rounds: int, seconds: float) -> None:
    """Measure one size of a family and print its ratios."""
    models = FAMILIES[family](d_model, length)
    sizes = {name: sum(p.numel() for p in model.parameters()) for name, (model, _) in models.items()}
    if max(sizes.values()) > 1.01 * min(sizes.values()):
        raise SystemExit(f"{family} d {d_model}: the models differ in size: {sizes}")
    tokens = torch.randint(0, VOCABULARY, (batch, length + 1), generator=torch.Generator().manual_seed(0))
    calls = [training_call(logits, model.train(), tokens) for model, logits in models.values()]
    times = dict(zip(models, paired_times(calls, rounds, seconds).T, strict=True))
    ours = times.pop("ours")
    ratios = ", ".join(f"{median_ratio(ours, other)} x {name}" for name, other in times.items())
    print(
        f"{family} d {d_model}: {ratios}; {sizes['ours']:,} parameters, ours {1e3 * ours.mean():.1f} ms",
        flush=True,
    )


def main() -> None:
    """Measure and print every size of every family."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--widths", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each model in a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for family in arguments.families:
        for width in arguments.widths:
            compare(family, width, arguments.length, arguments.batch, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
