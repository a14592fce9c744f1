"""Attention in windows, bands and blocks of rows: all of it is read, or nothing called exact."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from foreign.attention_reference import Reading, Watch
from torch import Tensor, nn

B, H, T, D, W = 2, 3, 32, 8, 8

Attend = Callable[["Pieces", Tensor, Tensor, Tensor], Tensor]


class Pieces(nn.Module):
    """Keeps the logits of each softmax, with the heads in the second of four dimensions."""

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(D, 3 * H * D), nn.Linear(H * D, D)
        self.mix = nn.Parameter(torch.randn(H * D, 9))
        self.attend = attend
        self.logits: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)
        self.logits.clear()
        return self.out(self.attend(self, 3 * q, k, v).transpose(1, 2).reshape(B, T, H * D))


def banded(self: Pieces, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    near = F.pad(k, (0, 0, W, W)).unfold(2, 2 * W + 1, 1)
    s = torch.einsum("bhtd,bhtdw->bthw", q, near)
    table = torch.zeros_like(s)
    table[:, :, :, :W] = s[..., :W]
    table[:, :, :, W:] = s[..., W:]
    self.logits.append(table.transpose(1, 2))
    p = F.softmax(table, dim=-1, dtype=torch.float32).type_as(s)
    return torch.einsum("bthw,bhtdw->bhtd", p, F.pad(v, (0, 0, W, W)).unfold(2, 2 * W + 1, 1))


def in_bands_and_rows(self: Pieces, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    first = q[:, :, :W] @ k.mT
    q, k3, v3 = (x[:, :, W:].unflatten(2, (3, W)) for x in (q, k, v))
    band = torch.cat([q @ k3.mT, q @ k3.roll(1, 2).mT, q @ k[:, :, None, :5].mT], dim=-1)
    self.logits += [first, band.flatten(2, 3)]
    p, (a, b, c) = first.softmax(-1), band.softmax(-1).split([W, W, 5], -1)
    rest = a @ v3 + b @ v3.roll(1, 2) + c @ v[:, :, None, :5]
    return torch.cat([p @ v, rest.flatten(2, 3)], dim=2)


def by_rows(self: Pieces, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    parts = []
    for rows in q.split([20, 12], dim=2):
        s = rows @ k.mT
        self.logits.append(s)
        parts.append(s.softmax(-1) @ v)
    return torch.cat(parts, dim=2)


def summed(self: Pieces, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    s = (q[:, :, :, None] * k[:, :, None]).sum(-1) + torch.linspace(-1, 1, T)
    self.logits.append(s)
    return torch.softmax(s, dim=3) @ v


def keys_first(self: Pieces, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    s = k @ q.mT
    self.logits.append(s.mT)
    return s.softmax(dim=-2).mT @ v


def by_logarithm(self: Pieces, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    s = q @ k.mT
    self.logits.append(s)
    return F.log_softmax(s, dim=-1).exp() @ v


def difference(self: Pieces, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    one, two = q @ k.mT, 2 * q.flip(-1) @ k.mT
    self.logits += [one, two]
    return (one.softmax(-1) - 0.3 * two.softmax(-1)) @ v


WAYS = {
    "a band": banded,
    "bands and rows": in_bands_and_rows,
    "rows": by_rows,
    "a sum of products": summed,
    "keys first": keys_first,
    "a logarithm": by_logarithm,
    "a difference": difference,
}


def read(module: Pieces, backward: bool = True) -> Reading:
    """Return what a tap reads, after it was shown to change no bit."""
    x = torch.randn(B, T, D, generator=torch.Generator().manual_seed(1))
    results = []
    for watched in (False, True):
        watch = Watch(module, [""]) if watched else None
        module.zero_grad()
        out = module(x)
        if backward:
            out.square().mean().backward()
        results.append([out, *(p.grad.clone() for p in module.parameters() if p.grad is not None)])
        if watch:
            watch.remove()
            assert watch.errors == []
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    return watch.readings()[""]


def entropy(logits: list[Tensor]) -> Tensor:
    """Return each head's entropy over ln n of each sequence, mean over all rows of all calls."""
    parts = []
    for s in logits:
        n = s.shape[-1]
        parts.append(torch.special.entr(s.softmax(-1)).sum(-1) / torch.tensor(float(n)).log())
    return torch.cat(parts, dim=2).mean(2)


@pytest.mark.parametrize("way", WAYS)
def test_all_of_it_is_read(way: str) -> None:
    torch.manual_seed(0)
    module = Pieces(WAYS[way])
    found = read(module)
    largest = max(s.max().item() for s in module.logits)
    assert found.logit_max == found.bound == pytest.approx(largest, rel=1e-5)
    # Each call looks at the sequence of its own largest logit, at 16 rows.
    lowest = min(entropy([s]).min().item() for s in module.logits)
    assert lowest - 0.05 <= found.entropy_min <= found.entropy
    assert abs(found.entropy - entropy(module.logits).mean().item()) < 0.05


def test_rows_count_by_their_number() -> None:
    def attend(self: Pieces, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        sure, alike = 100 * q[:, :, :28] @ k.mT, 0 * q[:, :, 28:] @ k.mT
        return torch.cat([sure.softmax(-1) @ v, alike.softmax(-1) @ v], dim=2)

    torch.manual_seed(0)
    assert read(Pieces(attend)).entropy == pytest.approx(4 / 32, abs=0.06)


def test_beside_a_softmax_of_unknown_kind_no_maximum_is_called_exact() -> None:
    torch.manual_seed(0)
    module = Pieces(in_bands_and_rows)
    with torch.no_grad():
        found = read(module, backward=False)
    known, unknown = (s.max().item() for s in module.logits)
    assert found.logit_max == pytest.approx(known)
    assert found.bound == pytest.approx(max(known, unknown))
    assert found.kind == "sampled"


def routed(self: Pieces, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    s = q @ k.mT
    self.logits.append(s)
    gates = (50 * (v.transpose(1, 2).flatten(2) @ self.mix)).softmax(-1)
    return (s.softmax(-1) @ v) * gates.mean(-1)[:, None, :, None]


def test_a_softmax_of_a_product_with_a_parameter_is_no_attention() -> None:
    torch.manual_seed(0)
    module = Pieces(routed)
    found = read(module)
    assert found.calls == 1
    assert found.logit_max == found.bound == pytest.approx(module.logits[0].max().item())
