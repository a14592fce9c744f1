"""Attention block by block equals attention under the mask of its windows."""

import pytest
import torch

from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.lab.model.context import contexts, distinct_kinds, visible
from stabilitykit.lab.model.scores import fused
from stabilitykit.lab.model.sections import AttentionConfig, LayerKind
from stabilitykit.lab.model.windows import band, by_blocks, windowed


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize(("span", "window"), [("sliding", 4), ("sliding", 1), ("chunked", 4), ("chunked", 6)])
def test_blocks_gather_what_the_mask_lets_through(span: str, window: int, kv_heads: int) -> None:
    generator, length = torch.Generator().manual_seed(0), 12
    inputs = [
        torch.randn(3, n, length, 8, generator=generator, requires_grad=True) for n in (4, kv_heads, kv_heads)
    ]
    dy = torch.randn(3, 4, length, 8, generator=generator)
    mask = visible(LayerKind(span=span, window=window), length)
    expected = fused(*inputs, mask, 0.3)
    seen = band(length, window, torch.device("cpu")) if span == "sliding" else None
    got = windowed(*inputs, window, seen, 0.3, 0.0)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad(got, inputs, dy), torch.autograd.grad(expected, inputs, dy), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("span", ["sliding", "chunked"])
def test_a_model_by_blocks_equals_one_under_masks(span: str) -> None:
    fields = {
        "seq_len": 256, "d_model": 16, "n_layers": 2, "position": {"kind": "rope"},
        "pattern": [{"span": span, "window": 32}], "attention": {"n_heads": 2},
    }  # fmt: skip
    tokens = torch.randint(0, 256, (2, 256), generator=torch.Generator().manual_seed(0))
    masked = {**fields, "attention": {"n_heads": 2, "implementation": "eager"}}
    models = [Transformer(TransformerConfig.model_validate(each)) for each in (fields, masked)]
    windows = [contexts(m.config, distinct_kinds(m.config), None, m.embed(tokens))[0].window for m in models]
    assert windows == [32, None]
    logits = [model(tokens) for model in models]
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)
    gradients = [
        torch.autograd.grad(each.logsumexp(-1).sum(), list(model.parameters()))
        for each, model in zip(logits, models, strict=True)
    ]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


def test_blocks_are_taken_where_they_fit_and_no_logit_is_changed() -> None:
    plain, capped = AttentionConfig(), AttentionConfig(softcap=5.0)
    sliding, chunked = (LayerKind(span=span, window=32) for span in ("sliding", "chunked"))
    assert by_blocks(plain, sliding, 256)
    assert by_blocks(plain, chunked, 64)
    assert not by_blocks(plain, sliding, 64)
    assert not by_blocks(plain, chunked, 65)
    assert not by_blocks(plain, chunked, 32)
    assert not by_blocks(plain, LayerKind(), 256)
    assert not by_blocks(capped, sliding, 256)
