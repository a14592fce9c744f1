"""The two ends: embedding and head."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from jaxtyping import Int
from torch import Tensor

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import Transformer


@pytest.mark.parametrize(("scale", "factor"), [(2.5, 2.5), ("sqrt_d", 4.0)])
def test_the_embedding_is_scaled_then_placed_then_normalised(
    build: Callable[..., Transformer], tokens: Int[Tensor, "batch seq"], scale: Any, factor: float
) -> None:
    embed = build(embedding={"scale": scale, "norm": True}).embed
    line = embed.token.weight[tokens] * factor + embed.position.weight
    expected = line / (line.square().mean(-1, keepdim=True) + 1e-5).sqrt() * embed.norm.weight
    torch.testing.assert_close(embed(tokens), expected)


def test_embedded_features_drop_out_in_training_only(
    build: Callable[..., Transformer], tokens: Int[Tensor, "batch seq"]
) -> None:
    embed = build(embedding={"dropout": 0.5}).embed
    assert embed(tokens).count_nonzero() == tokens.numel() * 16
    embed.train()
    assert 0.3 < embed(tokens).count_nonzero() / (tokens.numel() * 16) < 0.7


@pytest.mark.parametrize(("scale", "factor"), [(3.0, 3.0), ("rsqrt_d", 0.25)])
@pytest.mark.parametrize("cap", [None, 0.5])
@pytest.mark.parametrize("gain", [False, True])
def test_the_head_scales_then_caps(
    build: Callable[..., Transformer], scale: Any, factor: float, cap: float | None, gain: bool
) -> None:
    head = build(head={"scale": scale, "softcap": cap, "bias": True, "gain": gain}).head
    x = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (x @ head.linear.weight.T + head.linear.bias) * factor
    expected = expected * head.gain if gain else expected
    expected = expected if cap is None else cap * torch.tanh(expected / cap)
    torch.testing.assert_close(head(x), expected)


def test_a_tied_head_is_the_embedding(
    build: Callable[..., Transformer], tokens: Int[Tensor, "batch seq"]
) -> None:
    model = build(head={"tied": True})
    assert model.head.linear.weight is model.embed.token.weight
    assert "head.linear.weight" not in dict(model.named_parameters())
    model(tokens).square().sum().backward()
    assert model.embed.token.weight.grad is not None
    untied = build()
    assert untied.embed.token.weight.shape == untied.head.linear.weight.shape


def test_tying_leaves_the_embeddings_draw_alone(config_of: Callable[..., Any]) -> None:
    tied, untied = (Transformer(config_of(head={"tied": tied}), seed=4) for tied in (True, False))
    assert torch.equal(tied.embed.token.weight, untied.embed.token.weight)


@pytest.mark.parametrize("kind", ["learned", "sine", "rope", "none"])
def test_too_long_a_sequence_is_refused_whatever_the_positions(
    build: Callable[..., Transformer], kind: str
) -> None:
    with pytest.raises(ConfigError, match=r"^model\.seq_len: got a sequence of 13 tokens; at most 12$"):
        build(position={"kind": kind})(torch.zeros(1, 13, dtype=torch.long))
