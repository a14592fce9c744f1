"""Positions against their formulas and the laws they should obey."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from stabilitykit.lab.model import Transformer
from stabilitykit.lab.model.context import Context, contexts, distinct_kinds
from stabilitykit.lab.model.positions import (
    alibi_slopes,
    distances,
    rotate,
    rotation,
    sine_positions,
    t5_buckets,
)
from stabilitykit.lab.model.sections import PositionConfig

Build = Callable[..., Transformer]
Tokens = Int[Tensor, "batch seq"]
DOUBLE = torch.zeros((), dtype=torch.float64)


def heads(length: int = 9, width: int = 8) -> Float[Tensor, "2 3 length width"]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, length, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("width", [8, 4])
def test_a_rotation_keeps_lengths_and_leaves_the_rest(interleaved: bool, width: int) -> None:
    x = heads()
    turned = rotate(x, rotation(9, width, 100.0, interleaved, DOUBLE))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[..., width:], x[..., width:])
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert not torch.allclose(turned[:, :, 1, :width], x[:, :, 1, :width])


@pytest.mark.parametrize("interleaved", [False, True])
def test_logits_depend_on_the_difference_of_positions_alone(interleaved: bool) -> None:
    q, k = heads()[:, :, :1].expand(-1, -1, 9, -1), heads()[:, :, 1:2].expand(-1, -1, 9, -1)
    turn = rotation(9, 6, 50.0, interleaved, DOUBLE)
    logits = rotate(q, turn) @ rotate(k, turn).mT
    torch.testing.assert_close(logits[..., 1:, 1:], logits[..., :-1, :-1])
    assert not torch.allclose(logits[..., 0, 0], logits[..., 2, 0])


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_pair_is_turned_as_a_complex_number(interleaved: bool) -> None:
    x, theta = heads(width=6), 30.0
    pairs = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :3], x[..., 3:])
    angle = torch.arange(9)[:, None] * torch.tensor([theta ** (-2 * i / 6) for i in range(3)])
    turned = torch.complex(*pairs) * torch.exp(1j * angle.double())
    got = rotate(x, rotation(9, 6, theta, interleaved, DOUBLE))
    got_pairs = (got[..., 0::2], got[..., 1::2]) if interleaved else (got[..., :3], got[..., 3:])
    torch.testing.assert_close(torch.complex(*got_pairs), turned, rtol=1e-5, atol=1e-6)


def test_half_precision_stays_what_it_is() -> None:
    x = heads().bfloat16()
    assert rotate(x, rotation(9, 8, 1e4, False, torch.zeros(()))).dtype == torch.bfloat16


def test_sines_by_hand() -> None:
    table = sine_positions(4, 5)
    assert table.shape == (4, 5)
    for position in range(4):
        expected = [
            math.sin(position), math.cos(position),
            math.sin(position * 10_000 ** (-2 / 5)), math.cos(position * 10_000 ** (-2 / 5)),
            math.sin(position * 10_000 ** (-4 / 5)),
        ]  # fmt: skip
        assert table[position].tolist() == pytest.approx(expected, abs=1e-6)


def test_sines_in_halves_closed_and_counted_from_two() -> None:
    position = PositionConfig(kind="sine", sine_layout="half", sine_closed=True, sine_start=2)
    table = sine_positions(3, 6, position)
    for row in range(3):
        turns = [(row + 2) * 10_000 ** (-i / 2) for i in range(3)]
        expected = [*map(math.sin, turns), *map(math.cos, turns)]
        assert table[row].tolist() == pytest.approx(expected, abs=1e-6)


def test_slopes_of_a_power_of_two_and_of_another_number_of_heads() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(1).tolist() == [2.0**-8]
    assert alibi_slopes(12).tolist() == pytest.approx(
        [2.0**-i for i in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    )
    assert alibi_slopes(6).tolist() == pytest.approx([0.25, 2**-4, 2**-6, 2**-8, 0.5, 2**-3])


def bucket(distance: int, buckets: int, max_distance: int) -> int:
    """One pair, by the paper's rule in plain Python."""
    half = buckets // 2
    if distance < half:
        return max(distance, 0)
    share = math.log(distance / half) / math.log(max_distance / half)
    return min(buckets - 1, half + int(share * (buckets - half) + 1e-9))


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 20), (7, 30)])
def test_buckets_by_hand(buckets: int, max_distance: int) -> None:
    table = t5_buckets(distances(150), buckets, max_distance)
    # Where the share is a whole number, float32 may fall on either side of it.
    expected = [bucket(149 - j, buckets, max_distance) for j in range(150)]
    wrong = [j for j in range(150) if table[149, j].item() != expected[j]]
    assert all(abs(table[149, j].item() - expected[j]) == 1 for j in wrong)
    assert len(wrong) <= 2
    assert table[0].tolist() == [0] * 150
    assert table[149, 0] == buckets - 1


def attention_output(
    model: Transformer, x: Float[Tensor, "batch seq d_model"], layer: int = 0
) -> Float[Tensor, "batch seq d_model"]:
    """The attention of one layer, in its own context."""
    kinds = distinct_kinds(model.config)
    shared = contexts(model.config, kinds, model.logit_bias, x)
    return model.blocks[layer].attn(x, shared[kinds.index(model.config.layer_kind(layer))])


@pytest.mark.parametrize("kind", ["rope", "alibi", "t5_bias", "none"])
def test_relative_positions_see_no_shift(build: Build, kind: str) -> None:
    # Windows of equal content at different places give equal outputs where all earlier keys are cut off.
    model = build(position={"kind": kind}, pattern=[{"span": "sliding", "window": 3}])
    x = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64).repeat(1, 3, 1)
    out = attention_output(model, x)
    torch.testing.assert_close(out[:, 4:8], out[:, 8:12])


def test_alibi_adds_minus_slope_times_distance(build: Build) -> None:
    bias = build(position={"kind": "alibi"}).logit_bias(distances(5), DOUBLE)
    for head, slope in enumerate(alibi_slopes(4).tolist()):
        for i in range(5):
            for j in range(i + 1):
                assert bias[head, i, j].item() == pytest.approx(-slope * (i - j))


def test_all_layers_share_one_table(build: Build, tokens: Tokens) -> None:
    model = build(position={"kind": "t5_bias", "buckets": 6, "max_distance": 8})
    assert [n for n, _ in model.named_parameters() if "bias" in n] == ["logit_bias.weight"]
    assert model.logit_bias.weight.shape == (6, 4)
    model(tokens).square().sum().backward()
    assert model.logit_bias.weight.grad.abs().min() > 0


def test_layers_can_go_without(build: Build) -> None:
    x = torch.randn(1, 12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for kind in ("rope", "alibi", "t5_bias"):
        model = build(position={"kind": kind}, pattern=[{}, {"position": False}])
        assert not torch.allclose(attention_output(model, x), model.blocks[0].attn(x))
        assert torch.equal(attention_output(model, x, 1), model.blocks[1].attn(x, Context()))


def test_sliding_layers_have_their_own_base(build: Build) -> None:
    pattern = [{"span": "sliding", "window": 4}, {}]
    model = build(position={"kind": "rope", "theta": 50.0, "theta_local": 7.0}, pattern=pattern)
    shared = contexts(model.config, distinct_kinds(model.config), None, torch.zeros(1, 5, 16))
    for context, theta in zip(shared, (7.0, 50.0), strict=True):
        assert torch.equal(context.rotation.cos, rotation(5, 4, theta, False, torch.zeros(())).cos)


def test_sines_are_added_to_the_scaled_embedding(build: Build, tokens: Tokens) -> None:
    model = build(position={"kind": "sine"}, embedding={"scale": "sqrt_d"})
    expected = F.embedding(tokens, model.embed.token.weight) * 4 + sine_positions(12, 16).double()
    torch.testing.assert_close(model.embed(tokens), expected)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("width", [4, 6])
def test_first_and_second_derivative_of_a_turn_are_exact(width: int, interleaved: bool) -> None:
    turn = rotation(3, width, 10.0, interleaved, DOUBLE)
    x = torch.randn(1, 2, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rotate(x, turn).square(), (x,))
    assert torch.autograd.gradgradcheck(lambda x: rotate(x, turn).square(), (x,))
