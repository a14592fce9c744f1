"""Attention: both ways to compute it, what it sees, who shares what, and every switch by its formula."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from stabilitykit.lab.model import Transformer
from stabilitykit.lab.model.attention import Attention
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.context import Context, contexts, distinct_kinds, visible
from stabilitykit.lab.model.sections import LayerKind

SPANS: dict[str, list[dict[str, Any]]] = {
    "full": [{}],
    "sliding": [{"span": "sliding", "window": 3}],
    "chunked": [{"span": "chunked", "window": 4}],
    "mixed": [{"span": "sliding", "window": 2}, {}],
}
POSITIONS = ("learned", "sine", "none", "rope", "alibi", "t5_bias")
SWITCHES: list[dict[str, Any]] = [
    {"n_kv_heads": 2},
    {"n_kv_heads": 1, "head_dim": 6, "logit_scale": 0.3},
    {"qk_norm": "full", "clip_qkv": 0.5},
    {"qk_norm": "head", "qk_gain_per_head": True, "v_norm": True, "head_scale": True, "out_norm": True},
    {"qk_norm": "head", "qk_norm_config": {"kind": "l2", "gain": False}, "logit_scale": "none"},
    {"qkv_bias": True, "out_bias": True, "logit_scale": "inv_head_dim"},
]
TRIPLES = [
    (span, position, SWITCHES[(i + j + turn) % 6])
    for i, span in enumerate(SPANS)
    for j, position in enumerate(POSITIONS)
    for turn in (0, 3)
]
"""Every pair of a span, a position and a switch, in a third of all triples."""
EAGER: list[dict[str, Any]] = [{"softcap": 2.0}, {"sinks": "learned"}, {"sinks": "zero", "n_kv_heads": 2}]


def line(length: int = 12) -> Float[Tensor, "1 seq 16"]:
    return torch.randn(1, length, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("attention", [{}, {"softcap": 5.0, "sinks": "zero"}], ids=str)
def test_no_future_token_changes_a_logit(
    build: Callable[..., Transformer],
    tokens: Int[Tensor, "batch seq"],
    span: str,
    position: str,
    attention: dict[str, Any],
) -> None:
    model = build(pattern=SPANS[span], position={"kind": position}, attention=attention)
    before = model(tokens)
    for place in (0, 4, 11):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % 11
        after = model(changed)
        torch.testing.assert_close(after[:, :place], before[:, :place], rtol=0, atol=1e-12)
        assert not torch.allclose(after[:, place], before[:, place])


@pytest.mark.parametrize("window", [1, 3, 5])
def test_a_sliding_layer_sees_exactly_its_window(build: Callable[..., Transformer], window: int) -> None:
    model = build(n_layers=1, pattern=[{"span": "sliding", "window": window}], position={"kind": "rope"})
    shared = contexts(model.config, distinct_kinds(model.config), None, line())[0]
    before = model.blocks[0].attn(line(), shared)
    for place in range(12):
        moved = line()
        moved[:, place] += 1
        differs = (model.blocks[0].attn(moved, shared) - before).abs().amax(-1)[0] > 1e-9
        assert differs.nonzero().flatten().tolist() == list(range(place, min(12, place + window)))


def test_chunks_do_not_see_each_other() -> None:
    seen = visible(LayerKind(span="chunked", window=3), 7)
    expected = [[j <= i and i // 3 == j // 3 for j in range(7)] for i in range(7)]
    assert seen.tolist() == expected


def test_a_window_as_long_as_the_sequence_is_plainly_causal(
    config_of: Callable[..., TransformerConfig],
) -> None:
    for span in ("sliding", "chunked"):
        config = config_of(pattern=[{"span": span, "window": 12}])
        (context,) = contexts(config, distinct_kinds(config), None, line())
        assert context == Context()
        assert torch.equal(visible(config.layer_kind(0), 12), torch.ones(12, 12).bool().tril())


def test_every_pair_of_span_position_and_switch_is_among_the_triples() -> None:
    for one, other, sizes in ((0, 1, 4 * 6), (0, 2, 4 * 6), (1, 2, 6 * 6)):
        assert len({(str(triple[one]), str(triple[other])) for triple in TRIPLES}) == sizes


@pytest.mark.parametrize(("span", "position", "attention"), TRIPLES, ids=str)
def test_eager_equals_fused(
    build: Callable[..., Transformer],
    tokens: Int[Tensor, "batch seq"],
    span: str,
    position: str,
    attention: dict[str, Any],
) -> None:
    fields = {"pattern": SPANS[span], "position": {"kind": position}}
    fused = build(**fields, attention=attention).float()
    eager = build(**fields, attention={**attention, "implementation": "eager"}).float()
    results = [model(tokens) for model in (fused, eager)]
    torch.testing.assert_close(*results, rtol=0, atol=1e-5)
    assert results[0].std() > 0.1
    grads = [
        torch.autograd.grad(r.square().sum(), m.blocks[0].attn.k_proj.weight)[0]
        for r, m in zip(results, (fused, eager), strict=True)
    ]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4 * grads[0].abs().max().item())


def written_out(attn: Attention, x: Tensor, config: TransformerConfig) -> Float[Tensor, "seq d_model"]:
    """One sequence, one head and one query at a time, plain causality, no position."""
    section, size = config.attention, config.head_dim
    q, k, v = (project(x[0]) for project in (attn.q_proj, attn.k_proj, attn.v_proj))
    if section.clip_qkv:
        q, k, v = (torch.clip(each, -section.clip_qkv, section.clip_qkv) for each in (q, k, v))
    if section.qk_norm == "full":
        q, k = attn.q_norm(q), attn.k_norm(k)
    outs = []
    for head in range(section.n_heads):
        shared = head * config.n_kv_heads // section.n_heads
        q_h = q[:, head * size : (head + 1) * size]
        k_h, v_h = (each[:, shared * size : (shared + 1) * size] for each in (k, v))
        if section.qk_norm == "head":
            q_h, k_h, v_h = (
                _normed(n, e, h)
                for n, e, h in (
                    (attn.q_norm, q_h, head),
                    (attn.k_norm, k_h, shared),
                    (attn.v_norm, v_h, shared),
                )
            )
        rows = []
        for i in range(len(q)):
            logits = k_h[: i + 1] @ q_h[i] * config.logit_scale
            if section.softcap:
                logits = section.softcap * torch.tanh(logits / section.softcap)
            sink = {
                "none": None,
                "zero": 0.0,
                "learned": attn.sinks if attn.sinks is None else attn.sinks[head],
            }
            weights = torch.exp(logits)
            total = weights.sum() + (
                0.0 if section.sinks == "none" else torch.exp(torch.as_tensor(sink[section.sinks]))
            )
            rows.append(weights / total @ v_h[: i + 1])
        outs.append(torch.stack(rows) * (1.0 if attn.head_scale is None else attn.head_scale[head]))
    joined = torch.cat(outs, -1)
    return attn.o_proj(joined if attn.out_norm is None else attn.out_norm(joined))


def _normed(norm: Any, x: Tensor, head: int) -> Tensor:
    if norm is None:
        return x
    if not hasattr(norm, "inner"):
        return norm(x)
    return norm.inner(x) * norm.weight[head]


@pytest.mark.parametrize("attention", [{}, *SWITCHES, *EAGER], ids=str)
def test_equals_the_formula_written_out(build: Callable[..., Transformer], attention: dict[str, Any]) -> None:
    model = build(attention=attention, position={"kind": "none"})
    attn = model.blocks[0].attn
    torch.testing.assert_close(attn(line())[0], written_out(attn, line(), model.config), rtol=1e-7, atol=1e-9)


def test_as_many_key_heads_as_query_heads_is_multi_head(
    build: Callable[..., Transformer], tokens: Int[Tensor, "batch seq"]
) -> None:
    one, other = build(), build(attention={"n_kv_heads": 4, "head_dim": 4})
    assert torch.equal(one(tokens), other(tokens))


def test_sizes_of_shared_and_free_heads(build: Callable[..., Transformer]) -> None:
    attn = build(attention={"n_heads": 6, "n_kv_heads": 2, "head_dim": 5}).blocks[0].attn
    shapes = {name: tuple(w.shape) for name, w in attn.named_parameters()}
    assert shapes == {
        "q_proj.weight": (30, 16),
        "k_proj.weight": (10, 16),
        "v_proj.weight": (10, 16),
        "o_proj.weight": (16, 30),
    }


def test_before_or_after_the_rotation_matters_where_the_gain_is_uneven(
    build: Callable[..., Transformer],
) -> None:
    outs = []
    for at in ("pre_rope", "post_rope"):
        model = build(position={"kind": "rope"}, attention={"qk_norm": "head", "qk_norm_at": at})
        (context,) = contexts(model.config, distinct_kinds(model.config), None, line())
        outs.append(model.blocks[0].attn(line(), context))
        with torch.no_grad():
            for norm in (model.blocks[0].attn.q_norm, model.blocks[0].attn.k_norm):
                norm.weight.fill_(1.5)
        outs.append(model.blocks[0].attn(line(), context))
    assert not torch.allclose(outs[0], outs[2])
    torch.testing.assert_close(outs[1], outs[3])


def test_layers_can_go_without_their_query_and_key_norm(build: Callable[..., Transformer]) -> None:
    model = build(attention={"qk_norm": "head"}, pattern=[{}, {"qk_norm": False}])
    assert [block.attn.q_norm is None for block in model.blocks] == [False, True]


def test_temperature_can_act_in_all_layers_and_count_from_zero(build: Callable[..., Transformer]) -> None:
    attention = {"temperature_floor": 4, "temperature_layers": "all", "temperature_start": 0}
    model = build(attention=attention, position={"kind": "rope"})
    factor = contexts(model.config, distinct_kinds(model.config), None, line())[0].temperature
    assert torch.allclose(factor, 1 + 0.1 * torch.log(torch.arange(12) // 4 + 1.0).double(), atol=1e-6)


def test_temperature_grows_with_the_position_in_layers_without_one(build: Callable[..., Transformer]) -> None:
    attention = {"temperature_floor": 4, "temperature_scale": 0.5}
    model = build(attention=attention, position={"kind": "rope"}, pattern=[{}, {"position": False}])
    kinds = distinct_kinds(model.config)
    shared = dict(zip(kinds, contexts(model.config, kinds, None, line()), strict=True))
    assert shared[LayerKind()].temperature is None
    factor = shared[LayerKind(position=False)].temperature
    assert torch.allclose(factor, 1 + 0.5 * torch.log(torch.arange(1, 13) // 4 + 1.0).double(), atol=1e-6)
    attn = model.blocks[1].attn
    q, k, v = (p(line()).view(1, 12, 4, 4).transpose(1, 2) for p in (attn.q_proj, attn.k_proj, attn.v_proj))
    expected = F.scaled_dot_product_attention(q * factor[:, None], k, v, is_causal=True)
    got = attn(line(), shared[LayerKind(position=False)])
    torch.testing.assert_close(got, attn.o_proj(expected.transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("implementation", ["auto", "eager"])
def test_dropout_acts_in_training_only(build: Callable[..., Transformer], implementation: str) -> None:
    attn = build(attention={"dropout": 0.5, "implementation": implementation}).blocks[0].attn
    plain = build(attention={"implementation": implementation}).blocks[0].attn
    assert torch.equal(attn(line()), plain(line()))
    attn.train()
    assert not torch.allclose(attn(line()), plain(line()))


def test_a_cap_under_low_logits_changes_little_and_bounds_high_ones(
    build: Callable[..., Transformer],
) -> None:
    free, high, low = (build(attention={"softcap": cap}).blocks[0].attn(line()) for cap in (None, 1e4, 1e-6))
    torch.testing.assert_close(high, free, rtol=1e-5, atol=1e-7)
    attn = build().blocks[0].attn
    values = attn.v_proj(line()).cumsum(1) / torch.arange(1, 13)[:, None]
    torch.testing.assert_close(low, attn.o_proj(values), rtol=1e-4, atol=1e-5)
