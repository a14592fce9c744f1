"""Every way of calling attention: seen once, bit-equal, and right."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from foreign.attention_reference import Reading, Watch, entropy_of_a_sequence, materialised
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

B, H, T, S, D = 3, 4, 24, 40, 8


class Call(nn.Module):
    """Queries, keys and values from a linear map, and one way of attending."""

    def __init__(
        self, attend: Callable[..., Tensor], queries: int = T, keys: int = T, kv_heads: int = H
    ) -> None:
        super().__init__()
        self.q = nn.Linear(D, H * D)
        self.kv = nn.Linear(D, 2 * kv_heads * D)
        self.attend = attend
        self.sizes = queries, keys, kv_heads

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, kv_heads = self.sizes
        q = self.q(x[:, :queries]).view(B, queries, H, D).transpose(1, 2)
        k, v = self.kv(x[:, :keys]).view(B, keys, 2, kv_heads, D).permute(2, 0, 3, 1, 4)
        return self.attend(q * 3, k, v)


def sdpa(**fields: Any) -> Callable[..., Tensor]:
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **fields)


def truths(*shape: int) -> Tensor:
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < 0.7
    mask[..., :9] = True
    return mask


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def biased(*shape: int) -> Callable[..., Tensor]:
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=numbers(*shape).to(q.dtype))


def three_dimensional(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=numbers(B * H, T, T).to(q.dtype))


def five_dimensional(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x[:, None].expand(-1, 2, -1, -1, -1) for x in (q, k, v))
    mask = numbers(2, 1, T, T).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def narrow_values(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v[..., :5], is_causal=True)


def learned_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=q[:1, :, :, :1] * numbers(T, T).to(q.dtype))


def forced(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def by_keywords(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(value=v, key=k, query=q)


def odd_stride(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q = q.transpose(-1, -2).contiguous().transpose(-1, -2)
    return F.scaled_dot_product_attention(q, k, v)


PATHS: dict[str, tuple[Callable[..., Tensor], dict[str, int], str]] = {
    "plain": (sdpa(), {}, "exact or bound"),
    "keywords": (by_keywords, {}, "exact or bound"),
    "causal": (sdpa(is_causal=True), {}, "exact or bound"),
    "scale": (sdpa(scale=0.5, is_causal=True), {}, "exact or bound"),
    "truth values, 2-D": (sdpa(attn_mask=truths(T, T)), {}, "exact or bound"),
    "truth values, 4-D": (sdpa(attn_mask=truths(B, 1, T, T)), {}, "exact or bound"),
    "numbers, 2-D": (
        lambda q, k, v: sdpa(attn_mask=numbers(T, T).to(q.dtype))(q, k, v),
        {},
        "exact or bound",
    ),
    "numbers, 3-D": (lambda q, k, v: sdpa(attn_mask=numbers(H, T, T).to(q.dtype))(q, k, v), {}, "sampled"),
    "truth values, 3-D": (sdpa(attn_mask=truths(H, T, T)), {}, "sampled"),
    "numbers, 4-D": (biased(B, H, T, T), {}, "exact or bound"),
    "more keys": (sdpa(), {"keys": S}, "exact or bound"),
    "more keys, causal": (sdpa(is_causal=True), {"keys": S}, "exact or bound"),
    "more queries, causal": (sdpa(is_causal=True), {"queries": S}, "exact or bound"),
    "one query": (sdpa(), {"queries": 1}, "exact or bound"),
    "shared keys": (sdpa(enable_gqa=True, is_causal=True), {"kv_heads": 2}, "exact or bound"),
    "dropout": (sdpa(dropout_p=0.3, is_causal=True), {}, "sampled"),
    "dropout and truth values": (sdpa(dropout_p=0.3, attn_mask=truths(B, 1, T, T)), {}, "sampled"),
    "dropout and shared keys": (sdpa(dropout_p=0.3, enable_gqa=True), {"kv_heads": 2}, "sampled"),
    "3-D": (three_dimensional, {}, "exact or bound"),
    "5-D": (five_dimensional, {}, "sampled"),
    "narrow values": (narrow_values, {}, "sampled"),
    "a learned mask": (learned_mask, {}, "sampled"),
    "forced kernel": (forced, {}, "sampled"),
    "odd stride": (odd_stride, {}, "sampled"),
}


def eager(softmax: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        s = q @ k.mT * D**-0.5
        s = s.masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
        return softmax(s).to(v.dtype) @ v

    return attend


def einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.einsum("bhid,bhjd->bhij", q, k).softmax(dim=-1)
    return torch.einsum("bhij,bhjd->bhid", weights, v)


def batched(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    return torch.bmm(torch.softmax(torch.bmm(q, k.mT), -1), v)


def windows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.unflatten(2, (2, T // 2)).transpose(1, 2) for x in (q, k, v))
    return torch.softmax(q @ k.mT, dim=-1) @ v


def capped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(5 * torch.tanh(q @ k.mT / 5), dim=-1) @ v


def with_sink(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    s = torch.cat([q @ k.mT, q[:, :, :, :1]], dim=-1)
    return F.softmax(s, dim=-1)[..., :-1] @ v


def less_its_peak(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    s = torch.cat([q @ k.mT, q[:, :, :, :1]], dim=-1)
    s = s - s.max(dim=-1, keepdim=True).values
    return F.softmax(s, dim=-1)[..., :-1] @ v


WRITTEN_OUT: dict[str, Callable[..., Tensor]] = {
    "torch.softmax": eager(lambda s: torch.softmax(s, -1)),
    "Tensor.softmax": eager(lambda s: s.softmax(dim=-1)),
    "F.softmax": eager(lambda s: F.softmax(s, dim=-1)),
    "nn.Softmax": eager(nn.Softmax(dim=-1)),
    "in float32": eager(lambda s: F.softmax(s, dim=3, dtype=torch.float32)),
    "special": eager(lambda s: torch.special.softmax(s, -1)),
    "einsum": einsum,
    "3-D": batched,
    "5-D": windows,
    "capped": capped,
    "a sink": with_sink,
}

MULTIHEAD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "weights": ({}, {}),
    "no weights": ({}, {"need_weights": False}),
    "each head's weights": ({}, {"average_attn_weights": False}),
    "batch second": ({"batch_first": False}, {}),
    "padding": ({}, {"key_padding_mask": ~truths(B, T)}),
    "padding, no weights": ({}, {"key_padding_mask": ~truths(B, T), "need_weights": False}),
    "mask": ({}, {"attn_mask": torch.ones(T, T).triu(1).bool()}),
    "mask a head": ({}, {"attn_mask": numbers(B * H, T, T), "need_weights": False}),
    "causal": (
        {},
        {"attn_mask": torch.ones(T, T).triu(1).bool(), "is_causal": True, "need_weights": False},
    ),
    "dropout": ({"dropout": 0.3}, {}),
    "dropout, no weights": ({"dropout": 0.3}, {"need_weights": False}),
    "other widths": ({"kdim": H * D, "vdim": H * D}, {}),
    "bias as a key": ({"add_bias_kv": True}, {}),
    "a zero key": ({"add_zero_attn": True}, {"need_weights": False}),
}


class Multihead(nn.Module):
    """torch's attention module, called in one way."""

    def __init__(self, fields: dict[str, Any], call: dict[str, Any]) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(H * D, H, **{"batch_first": True, **fields})
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :T].repeat(1, 1, H)
        x = x if self.attn.batch_first else x.transpose(0, 1)
        out, weights = self.attn(x, x, x, **self.call)
        return out if weights is None else out.sum() + weights.square().sum()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(B, S, D, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _fixed() -> None:
    torch.manual_seed(0)


def seen(module: nn.Module, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor] | None = None) -> Reading:
    """Return what a tap reads, after it was shown to change no bit of outputs, gradients and random state."""
    run = run or (lambda module, x: module(x))
    results = []
    for watched in (False, True):
        watch = Watch(module, [""]) if watched else None
        module.zero_grad()
        torch.manual_seed(3)
        out = run(module, x)
        out.float().square().mean().backward()
        results.append([out, *(p.grad.clone() for p in module.parameters()), torch.get_rng_state()])
        if watch:
            watch.remove()
            assert watch.errors == []
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    return watch.readings()[""]


def agrees(found: Reading, module: nn.Module, x: Tensor, exact: bool = False, low: bool = False) -> None:
    torch.manual_seed(3)
    [logits] = materialised(module, [""], lambda: module(x))[""]
    largest = logits.max().item()
    slack = (0.05 if low else 1e-4) * max(1.0, abs(largest))
    assert found.calls == 1
    assert found.logit_max <= largest + slack
    assert found.bound >= largest - slack
    if exact:
        assert found.logit_max == found.bound == pytest.approx(largest, abs=slack)
    tolerance = 0.02 if low else 1e-3
    distances = [
        max(abs(mean - found.entropy), abs(low - found.entropy_min))
        for mean, low in entropy_of_a_sequence(logits, H)
    ]
    assert min(distances) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("path", PATHS)
def test_calls_of_the_kernel(path: str, dtype: torch.dtype, x: Tensor) -> None:
    attend, sizes, kind = PATHS[path]
    module = Call(attend, **sizes).to(dtype)
    found = seen(module, x.to(dtype))
    agrees(found, module, x.to(dtype), low=dtype != torch.float32)
    assert found.kind == kind


@pytest.mark.parametrize(
    "path", ["causal", "truth values, 4-D", "numbers, 4-D", "dropout", "5-D", "shared keys"]
)
def test_calls_of_the_kernel_under_autocast(path: str, x: Tensor) -> None:
    attend, sizes, _ = PATHS[path]
    module = Call(attend, **sizes)

    def run(module: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return module(x)

    found = seen(module, x, run)
    agrees(found, module, x, low=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("path", WRITTEN_OUT)
def test_attention_written_out(path: str, dtype: torch.dtype, x: Tensor) -> None:
    module = Call(WRITTEN_OUT[path]).to(dtype)
    found = seen(module, x.to(dtype))
    agrees(found, module, x.to(dtype), exact=True)


def test_a_maximum_that_was_subtracted_is_put_back(x: Tensor) -> None:
    module, before = Call(less_its_peak), Call(with_sink)
    before.load_state_dict(module.state_dict())
    found = seen(module, x)
    agrees(found, before, x, exact=True)


@pytest.mark.parametrize("path", MULTIHEAD)
def test_the_paths_of_torchs_own_attention(path: str, x: Tensor) -> None:
    module = Multihead(*MULTIHEAD[path])
    found = seen(module, x)
    agrees(found, module, x)


def test_the_functions_of_torch_stay_what_they_are(x: Tensor) -> None:
    functions = F.softmax, F.scaled_dot_product_attention
    found = []
    module = Multihead(*MULTIHEAD["weights"])
    Watch(module, [""])
    module.attn.register_forward_pre_hook(
        lambda *_: found.append((F.softmax, F.scaled_dot_product_attention))
    )
    with pytest.raises(AssertionError):
        module(x[..., :3])
    assert found == [functions]
    assert (F.softmax, F.scaled_dot_product_attention) == functions
    assert torch.overrides._get_current_function_mode_stack() == []


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("path", ["causal", "dropout"])
def test_a_recomputation_is_not_counted(path: str, reentrant: bool, x: Tensor) -> None:
    module = Call(PATHS[path][0])

    def run(module: nn.Module, x: Tensor) -> Tensor:
        return checkpoint(module, x.clone().requires_grad_(), use_reentrant=reentrant)

    assert seen(module, x, run).calls == 1


class Other(nn.Module):
    """Softmaxes that are no attention: routers, a gate over heads, a mixing of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(D, 16)
        self.experts = nn.Parameter(torch.randn(D, 16))
        self.gate = nn.Linear(D, 4 * 16)

    def forward(self, x: Tensor) -> Tensor:
        routed = F.softmax(self.router(x), dim=-1)
        bare = torch.softmax(x @ self.experts, dim=-1)
        gated = self.gate(x).view(B, S, 4, 16).softmax(-1)
        flat = F.softmax(self.router(x.flatten(0, 1)), dim=-1)
        over_tokens = self.router(x).softmax(1)
        return (
            routed.sum()
            + bare.square().sum()
            + gated.square().sum()
            + flat.square().sum()
            + over_tokens.sum()
        )


def test_a_softmax_that_is_no_attention_is_left_alone(x: Tensor) -> None:
    assert seen(Other(), x).calls == 0


def test_a_router_beside_attention_is_left_alone(x: Tensor) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend, self.other = Call(WRITTEN_OUT["F.softmax"]), Other()

        def forward(self, x: Tensor) -> Tensor:
            return self.attend(x).sum() + self.other(x)

    assert seen(Both(), x).calls == 1


def test_few_keys_give_no_reading(x: Tensor) -> None:
    for attend in (sdpa(), WRITTEN_OUT["einsum"]):
        assert seen(Call(attend, queries=7, keys=7), x).calls == 0


def test_evaluation_runs_without_the_mode(x: Tensor) -> None:
    layer = nn.TransformerEncoderLayer(D, 2, 16, batch_first=True).eval()
    modes = []
    layer.self_attn.register_forward_pre_hook(
        lambda *_: modes.extend(torch.overrides._get_current_function_mode_stack())
    )
    with torch.no_grad():
        bare = layer(x)
        watch = Watch(layer, [""])
        assert torch.equal(layer(x), bare)
        layer.training = True
        frozen = layer(x)
    assert modes == []
    assert torch.equal(frozen, bare) or not layer.self_attn.training
    assert watch.readings()[""].calls == 0


def test_what_is_changed_in_place_afterwards_is_not_read(x: Tensor) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch.no_grad():
            out = F.scaled_dot_product_attention(q, k, v)
            k.zero_()
        return out

    module = Call(attend)
    watch = Watch(module, [""])
    module(x)
    assert watch.readings()[""].calls == 0
    assert "changed in place" in str(watch.errors[0])


def test_an_exception_in_the_model_is_its_own_and_leaves_no_mode(x: Tensor) -> None:
    module = Call(lambda q, k, v: F.scaled_dot_product_attention(q, k[..., :3], v))
    with pytest.raises(RuntimeError) as bare:
        module(x)
    Watch(module, [""])
    with pytest.raises(RuntimeError) as watched:
        module(x)
    assert str(watched.value) == str(bare.value)
    assert torch.overrides._get_current_function_mode_stack() == []


def test_much_is_not_held_until_the_end(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stabilitykit.observe.attention.pending._LIMIT", 0)
    module = Call(sdpa(is_causal=True))
    watch = Watch(module, [""])
    for _ in range(3):
        module(x)
    assert watch.taps[0]._pending._groups == {}
    assert watch.readings()[""].calls == 3
