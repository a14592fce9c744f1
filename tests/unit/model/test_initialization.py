"""Weights follow from configuration and seed alone, with the statistics they should have."""

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.model import Transformer, TransformerConfig, arch_config, initialize, validated
from stabilitykit.model.config import WIRINGS


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
