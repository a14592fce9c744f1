"""Routers of mixtures of experts, against what their own module returned."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stabilitykit.observe import Collector

WIDTH, EXPERTS, K = 8, 5, 2
Route = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""From scores (tokens × experts) to chances, weights and what was chosen."""


class Mixture(nn.Module):
    """Experts behind a router."""

    def __init__(self, route: Route, flat: bool) -> None:
        super().__init__()
        self.score = nn.Linear(WIDTH, EXPERTS)
        self.up = nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH))
        self.route, self.flat = route, flat
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        tokens = x.reshape(-1, WIDTH) if self.flat else x
        chances, weights, chosen = self.route(self.score(tokens))
        self.seen.append((chances.detach().reshape(-1, EXPERTS), chosen.detach()))
        out = torch.einsum("...d,edf->...ef", tokens, self.up)
        picked = out.gather(-2, chosen[..., None].expand(*chosen.shape, WIDTH))
        return (picked * weights[..., None]).sum(-2).reshape(shape)


class Block(nn.Module):
    """Attention, then experts."""

    def __init__(self, experts: nn.Module) -> None:
        super().__init__()
        self.n1, self.n2, self.qkv = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.experts = experts

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (each[:, None] for each in self.qkv(self.n1(x)).chunk(3, -1))
        x = x + F.scaled_dot_product_attention(q, k, v)[:, 0]
        return x + self.experts(self.n2(x))


class Stack(nn.Module):
    """Two blocks."""

    def __init__(self, experts: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(experts()) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def watched(model: nn.Module, microbatches: int = 1) -> tuple[Collector, Any, list[Tensor]]:
    """Return a collector, its second record, and the gradients of that step."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    collector = Collector(model, [optimizer])
    collector.attach()
    for step in range(2):
        for each in [m for m in model.modules() if isinstance(m, Mixture)]:
            each.seen.clear()
        optimizer.zero_grad()
        for _ in range(microbatches):
            collector.arm()
            model(torch.randn(3, 12, WIDTH)).square().mean().backward()
        collector.read_gradients()
        optimizer.step()
        record = collector.collect(step)
    collector.detach()
    return collector, record, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def softmax_first(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    p = F.softmax(z, dim=-1, dtype=torch.float32)
    weights, chosen = torch.topk(p, K, dim=-1)
    return p, weights / weights.sum(-1, keepdim=True), chosen


def softmax_last(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    best, chosen = z.topk(K)
    return z.softmax(-1), best.softmax(-1), chosen


def sigmoids(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    p = z.sigmoid()
    chosen = (p + torch.linspace(0, 0.1, EXPERTS)).topk(K, dim=-1, sorted=False)[1]
    return p / p.sum(-1, keepdim=True), p.gather(-1, chosen), chosen


def grouped(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    p = z.sigmoid()
    group = p.unsqueeze(-2).topk(K, dim=-1)[0].sum(-1).topk(1, dim=-1)[1]
    chosen = p.masked_fill(group > 9, -math.inf).topk(K, dim=-1)[1]
    return p / p.sum(-1, keepdim=True), p.gather(-1, chosen), chosen


def one(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    p = torch.softmax(z, -1)
    chosen = torch.argmax(p, dim=-1)[..., None]
    return p, p.gather(-1, chosen), chosen


def one_by_maximum(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    p = nn.Softmax(-1)(z)
    best, chosen = p.max(dim=-1, keepdim=True)
    return p, best, chosen


ROUTES = (softmax_first, softmax_last, sigmoids, grouped, one, one_by_maximum)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("route", ROUTES)
def test_routers_are_read_as_they_route(route: Route, flat: bool) -> None:
    torch.manual_seed(0)
    model = Stack(lambda: Mixture(route, flat))
    collector, record, _ = watched(model, microbatches=2)
    rows = {row.module.split()[1]: row for row in collector.coverage() if "moe/max_share" in row.statistics}
    assert len(rows) == 2
    for i, layer in enumerate(model.layers):
        chances, chosen = (torch.cat(parts) for parts in zip(*layer.experts.seen, strict=True))
        shares = torch.bincount(chosen.flatten(), minlength=EXPERTS) / chosen.numel()
        entropy = torch.special.entr(chances).sum(-1).mean() / math.log(EXPERTS)
        found = {name: record.readings[f"moe/{name}/blocks.0{i}"] for name in ("router_entropy", "max_share")}
        assert found == pytest.approx(
            {"router_entropy": entropy.item(), "max_share": shares.max().item()}, rel=1e-5
        )
        assert record.readings[f"moe/min_share/blocks.0{i}"] == pytest.approx(shares.min().item(), rel=1e-5)
        assert f"moe/dropped/blocks.0{i}" not in record.tags


class Chosen(nn.Module):
    """Experts that choose tokens."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.score, self.up = nn.Linear(WIDTH, EXPERTS), nn.Linear(WIDTH, WIDTH)
        self.transposed = transposed
        self.left = 0.0

    def forward(self, x: Tensor) -> Tensor:
        p = self.score(x).softmax(-1)
        p, along = (p.transpose(1, 2), 2) if self.transposed else (p, 1)
        weights, chosen = p.topk(3, dim=along)
        mask = torch.zeros_like(p).scatter(along, chosen, weights)
        self.left = (mask.sum(3 - along) == 0).float().mean().item()
        return self.up(x) * mask.sum(3 - along)[..., None]


@pytest.mark.parametrize("transposed", [True, False])
def test_tokens_that_no_expert_chose_are_told(transposed: bool) -> None:
    torch.manual_seed(0)
    model = Stack(lambda: Chosen(transposed))
    _, record, _ = watched(model)
    left = [layer.experts.left for layer in model.layers]
    assert min(left) > 0
    assert [record.readings[f"moe/dropped/blocks.0{i}"] for i in range(2)] == pytest.approx(left)
    assert record.readings["moe/max_share/blocks.00"] == pytest.approx(1 / EXPERTS)


class Sparse(nn.Module):
    """A feed-forward that keeps the largest of its hidden units: no router."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)
        best, chosen = h.topk(4, dim=-1)
        return self.down(torch.zeros_like(h).scatter(-1, chosen, best)) * h.max(dim=-1, keepdim=True).values


class Neighbours(nn.Module):
    """Tokens that look at the nearest others: attention, and no router."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        p = (x @ self.up(x).mT).softmax(-1)
        best, chosen = p.topk(3, dim=-1)
        return torch.zeros_like(p).scatter(-1, chosen, best) @ x


@pytest.mark.parametrize("experts", [Sparse, Neighbours])
def test_what_keeps_the_largest_of_other_things_is_no_router(experts: type[nn.Module]) -> None:
    collector, record, _ = watched(Stack(experts))
    assert not collector.layout.routers
    assert not [tag for tag in record.tags if tag.startswith("moe/")]


@pytest.mark.parametrize("route", [softmax_first, softmax_last, sigmoids, one])
def test_watching_routers_changes_no_bit(route: Route) -> None:
    torch.manual_seed(0)
    model = Stack(lambda: Mixture(route, flat=False))
    seen = watched(model)[2]
    torch.manual_seed(1)
    for _ in range(2):
        model.zero_grad()
        model(torch.randn(3, 12, WIDTH)).square().mean().backward()
    for a, p in zip(seen, model.parameters(), strict=True):
        assert p.grad is not None
        assert torch.equal(a, p.grad)


def test_an_error_in_reading_a_router_is_told_and_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise ValueError("no")

    monkeypatch.setattr("stabilitykit.observe.routers.router_sums", fail)
    collector, record, _ = watched(Stack(lambda: Mixture(softmax_first, flat=True)))
    assert not [tag for tag in record.tags if tag.startswith("moe/")]
    rows = [row for row in collector.coverage() if "moe/max_share" in row.statistics]
    assert {row.dark for row in rows} == {"ValueError: no"}
