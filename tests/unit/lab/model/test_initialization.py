"""Weights follow from configuration and seed alone, with the statistics they should have."""

import math
from typing import get_args

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.lab.model import Transformer, TransformerConfig, arch_config, initialize
from stabilitykit.lab.model.initialization import SCHEMES
from stabilitykit.lab.model.sections import Scheme
from stabilitykit.lab.model.wirings import WIRINGS
from stabilitykit.lab.validation import validated


def small(**fields: object) -> TransformerConfig:
    return validated(TransformerConfig, {"d_model": 16, "n_layers": 2, "seq_len": 8, **fields})


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    other_weights = dict(other.named_parameters())
    return all(torch.equal(weight, other_weights[name]) for name, weight in one.named_parameters())


def test_one_seed_gives_the_same_bits_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    one = Transformer(small(), seed=7)
    torch.manual_seed(2)
    assert same_weights(one, Transformer(small(), seed=7))
    assert not same_weights(one, Transformer(small(), seed=8))


def test_building_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    Transformer(small())
    assert torch.equal(before, torch.get_rng_state())


def test_initialize_draws_anew() -> None:
    model = Transformer(small(), seed=7)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(3.0)
    initialize(model, model.config, seed=7)
    assert same_weights(model, Transformer(small(), seed=7))


def test_double_precision_gets_the_same_draws() -> None:
    model = Transformer(small(), seed=7).double()
    initialize(model, model.config, seed=7)
    assert same_weights(model.float(), Transformer(small(), seed=7))


@pytest.mark.parametrize("wiring", WIRINGS)
def test_one_seed_gives_every_wiring_the_same_matrices(wiring: str) -> None:
    pre, other = Transformer(small(), seed=3), Transformer(small(wiring=wiring), seed=3)
    others = dict(other.named_parameters())
    assert all(torch.equal(w, others[name]) for name, w in pre.named_parameters() if "norm" not in name)


def test_scales_at_the_start() -> None:
    model = Transformer(small(d_model=128, attention={"n_heads": 4, "qk_norm": "head"}), seed=0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            expected = (2 / sum(module.weight.shape)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.03), name
            assert abs(module.weight.mean().item()) < 0.05 * expected, name
        elif "norm" in name.rpartition(".")[2]:
            assert torch.equal(module.weight, torch.ones_like(module.weight)), name
    assert model.embed.token.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert model.embed.position.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("arch", "lowest", "highest"),
    [
        ("pre_norm", 1 + 32 / 2, 1 + 3 * 32 / 2),
        ("post_norm", 0.99, 1.01),
        ("double_norm", 0.9 * 65, 1.1 * 65),
        ("out_norm", 0.9 * 65, 1.1 * 65),
    ],
)
def test_mean_square_of_the_line_at_the_start(arch: str, lowest: float, highest: float) -> None:
    # Token and position embedding of variance ½ each: the line starts at a mean square of 1.
    fields = {"d_model": 96, "n_layers": 32, "initialization": {"embed_std": 0.5**0.5}}
    seen = []
    for seed in range(2):
        model = Transformer(validated(TransformerConfig, {**fields, **arch_config(arch)}), seed=seed)
        with torch.no_grad():
            seen.append(last_line(model).square().mean().item())
    assert lowest <= sum(seen) / len(seen) <= highest


def last_line(model: Transformer) -> Float[Tensor, "batch seq d_model"]:
    lines: list[Tensor] = []
    model.blocks[-1].resid_post.register_forward_hook(lambda _m, _i, out: lines.append(out))
    model(torch.randint(256, (2, 64), generator=torch.Generator().manual_seed(0)))
    return lines[0]


L, D, FF, H, G, K = 4, 64, 96, 4, 2, 24
SHAPES = {
    "q": (D, H * K), "k": (D, G * K), "v": (D, G * K), "o": (H * K, D),
    "gate": (D, FF), "up": (D, FF), "down": (FF, D), "head": (D, 256),
}  # fmt: skip


def xavier(part: str) -> float:
    return (2 / sum(SHAPES[part])) ** 0.5


def expected_std(scheme: str, part: str, layer: int) -> float:
    """The table of the papers, by part."""
    ends, values = part in ("o", "down"), part not in ("q", "k", "head")
    match scheme:
        case "xavier":
            return xavier(part)
        case "normal":
            return 0.03
        case "gpt2":
            return 0.03 / (2 * L) ** 0.5 if ends else 0.03
        case "llama_depth":
            return 0.03 / (2 * (layer + 1)) ** 0.5 if ends else 0.03
        case "small":
            return (2 / (5 * D)) ** 0.5
        case "wang":
            return 2 / (L * D**0.5) if ends else (2 / (5 * D)) ** 0.5
        case "deepnorm":
            return xavier(part) * ((8 * L) ** -0.25 if values else 1)
        case "subln":
            return xavier(part) * (math.log(2 * L) ** 0.5 if values else 1)
        case "tfixup":
            return xavier(part) * (0.67 * L**-0.25 if values else 1)
        case "t5":
            return {"q": D * K, "o": H * K, "down": FF}.get(part, D) ** -0.5
        case "fan_in":
            return SHAPES[part][0] ** -0.5
        case "spectral":
            inputs, outputs = SHAPES[part]
            return min(1.0, (outputs / inputs) ** 0.5) / inputs**0.5
        case "mup":
            return 16**-0.5 if part == "head" else SHAPES[part][0] ** -0.5
        case _:
            raise AssertionError(scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_draws_by_its_table(scheme: str) -> None:
    own = {"mup": {"mup_base_width": 16}} | {
        each: {"std": 0.03} for each in ("normal", "gpt2", "llama_depth")
    }
    attention = {"n_heads": H, "n_kv_heads": G, "head_dim": K, "logit_scale": "inv_head_dim"}
    fields = {
        "d_model": D,
        "n_layers": L,
        "attention": attention,
        "feedforward": {"d_ff": FF},
        "initialization": {"scheme": scheme, **own.get(scheme, {})},
    }
    model = Transformer(validated(TransformerConfig, fields), seed=0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            part = name.rpartition(".")[2].removesuffix("_proj").replace("linear", "head")
            layer = int(name.split(".")[1]) if part != "head" else 0
            expected = expected_std(scheme, part, layer)
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05), name
    embed_std = {"tfixup": D**-0.5, "t5": 1.0, "mup": 1.0}.get(scheme, 0.02)
    assert model.embed.token.weight.std().item() == pytest.approx(embed_std, rel=0.05)


MUP = {"scheme": "mup", "mup_base_width": 64}
INVERSE = {"logit_scale": "inv_head_dim"}


def test_mup_at_its_base_width_is_fan_in_to_the_bit() -> None:
    sizes = {"d_model": 64, "attention": INVERSE}
    fan_in = {"scheme": "fan_in", "embed_std": 1.0}
    one, other = (Transformer(small(**sizes, initialization=init), seed=3) for init in (MUP, fan_in))
    assert same_weights(one, other)
    tokens = torch.arange(8)[None]
    assert torch.equal(one(tokens), other(tokens))


def test_mup_starts_its_logits_smaller_in_a_wider_model() -> None:
    """By the root of the width: that part of them vanishes in the limit (2203.03466, table 8)."""
    sizes, tokens = [], torch.arange(8)[None]
    for width in (64, 256):
        model = Transformer(small(d_model=width, attention=INVERSE, initialization=MUP), seed=0)
        with torch.no_grad():
            sizes.append(model(tokens).std().item())
    assert sizes[1] / sizes[0] == pytest.approx(0.5, rel=0.15)
    assert sizes[0] == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("width", [64, 128])
def test_a_tied_table_starts_alike_at_every_width_under_mup(width: int) -> None:
    fields = {"attention": INVERSE, "initialization": MUP, "head": {"tied": True}}
    model = Transformer(small(d_model=width, **fields), seed=0)
    assert model.embed.token.weight.std().item() == pytest.approx(64**-0.5, rel=0.03)
    biased = Transformer(small(d_model=width, **fields, position={"kind": "t5_bias"}), seed=0)
    assert biased.logit_bias.weight.std().item() == pytest.approx(64**-0.5, rel=0.2)


def test_draws_come_from_one_generator_in_the_order_of_the_modules() -> None:
    """Whoever adds a scheme or a field must not change the weights of what exists."""
    model, generator = Transformer(small(n_layers=1), seed=7), torch.Generator().manual_seed(7)
    drawn = ["embed.token", "embed.position"]
    drawn += [f"blocks.0.attn.{each}_proj" for each in "qkvo"]
    drawn += [f"blocks.0.mlp.{each}_proj" for each in ("gate", "up", "down")]
    for name in [*drawn, "head.linear"]:
        weight = model.get_submodule(name).weight
        std = 0.02 if name.startswith("embed") else (2 / sum(weight.shape)) ** 0.5
        assert torch.equal(weight, torch.randn(weight.shape, generator=generator) * std), name


def test_the_table_of_schemes_is_complete() -> None:
    assert set(SCHEMES) == set(get_args(Scheme))


def test_branches_and_head_can_start_at_zero_and_change_nothing_else() -> None:
    fields = {"zero_branch_out": True, "zero_head": True}
    model, other = Transformer(small(initialization=fields), seed=2), Transformer(small(), seed=2)
    for name, weight in model.named_parameters():
        zero = name.endswith(("o_proj.weight", "down_proj.weight")) or name.startswith("head")
        assert torch.equal(weight, torch.zeros_like(weight) if zero else other.get_parameter(name)), name


def test_biases_start_at_zero() -> None:
    fields = {
        "attention": {"qkv_bias": True, "out_bias": True},
        "feedforward": {"bias": True},
        "head": {"bias": True},
        "norm": {"kind": "layernorm", "bias": True},
    }
    biases = [w for name, w in Transformer(small(**fields)).named_parameters() if name.endswith("bias")]
    assert len(biases) == 2 * (4 + 3 + 2) + 2
    assert not any(bias.any() for bias in biases)


def test_everything_learned_is_drawn_or_set_anew() -> None:
    fields = {
        "norm": {"kind": "derf", "bias": True},
        "attention": {"qk_norm": "head", "qk_gain_per_head": True, "sinks": "learned", "head_scale": True},
        "position": {"kind": "t5_bias"},
        "residual": {"gate": "vector", "gate_init": 0.1, "gpas": True},
        "feedforward": {"pre_gain": True},
        "head": {"gain": True},
    }
    model = Transformer(small(**fields), seed=7)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(3.0)
    initialize(model, model.config, seed=7)
    assert same_weights(model, Transformer(small(**fields), seed=7))
    assert model.logit_bias.weight.std().item() == pytest.approx(0.25, rel=0.3)
