"""Every way of calling attention: torch's kernel, softmax written out, torch's own module."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

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


def less_its_peak_in_place(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    s = torch.cat([q @ k.mT, q[:, :, :, :1]], dim=-1)
    s -= torch.amax(s, -1, keepdim=True).detach()
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
