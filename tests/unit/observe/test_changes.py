"""A model or an optimizer that is changed while it is watched is followed, or said to be unread."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stabilitykit import watch


class Net(nn.Module):
    """Two layers behind an embedding."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, width)
        self.mid = nn.Linear(width, width)
        self.head = nn.Linear(width, 20)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.mid(self.embed(tokens))))
        return out


class Adapted(nn.Module):
    """A frozen layer with a trained one of low rank beside it, as adapters are."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.up(self.down(x))
        return out


def new_head(model: Net, optimizer: torch.optim.Optimizer) -> None:
    model.head = nn.Linear(8, 20)
    optimizer.add_param_group({"params": list(model.head.parameters())})


def new_weight(model: Net, optimizer: torch.optim.Optimizer) -> None:
    model.mid.weight = nn.Parameter(torch.randn(8, 8))
    optimizer.param_groups[0]["params"] = list(model.parameters())


def tie(model: Net, optimizer: torch.optim.Optimizer) -> None:
    model.head.weight = model.embed.weight


def thaw(model: Net, optimizer: torch.optim.Optimizer) -> None:
    model.mid.requires_grad_(True)


def freeze(model: Net, optimizer: torch.optim.Optimizer) -> None:
    model.head.requires_grad_(False)
    model.head.zero_grad()


def adapt(model: Net, optimizer: torch.optim.Optimizer) -> None:
    model.mid = Adapted(model.mid)  # type: ignore[assignment]
    optimizer.add_param_group({"params": [*model.mid.down.parameters(), *model.mid.up.parameters()]})


def widen_numbers(model: Net, optimizer: torch.optim.Optimizer) -> None:
    model.double()


def swap_memory(model: Net, optimizer: torch.optim.Optimizer) -> None:
    for p in model.parameters():
        p.data = p.data.clone()


CHANGES: dict[str, Callable[[Any, Any], None]] = {
    each.__name__: each
    for each in (new_head, new_weight, tie, thaw, freeze, adapt, widen_numbers, swap_memory)
}


def norm(model: nn.Module) -> float:
    found = [p.grad for p in model.parameters() if p.grad is not None]
    return math.sqrt(sum(g.double().square().sum().item() for g in found))


@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("change", list(CHANGES))
def test_the_gradient_norm_is_that_of_the_model_as_it_is_or_none(change: str, at: int) -> None:
    torch.manual_seed(0)
    model = Net()
    if change == "thaw":
        model.mid.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tokens = torch.randint(0, 20, (3, 5))
    with watch(model, optimizer) as monitor:
        for step in range(5):
            if step == at:
                CHANGES[change](model, optimizer)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
            loss.backward()
            exact = norm(model)
            before = {n: p.detach().clone() for n, p in model.named_parameters()}
            optimizer.step()
            monitor.step(loss)
            readings = monitor.latest().readings
            assert readings.get("optim/grad_norm", exact) == pytest.approx(exact, rel=1e-5)
            # At most one step goes by without readings.
            assert "optim/grad_norm" in readings or step == at
            for group in ("mid", "head"):
                found = [(n, p) for n, p in model.named_parameters() if n.startswith(group)]
                squares = [
                    (p.detach() - before[n]).square().sum().item() for n, p in found if p.requires_grad
                ]
                tag = f"optim/update_norm/{group}"
                if tag in readings and not (change == "tie" and group == "head"):
                    assert readings[tag] == pytest.approx(math.sqrt(sum(squares)), rel=1e-4, abs=1e-9)
    assert readings["optim/skipped"] == 0.0


def test_a_model_that_is_another_at_every_step_is_left_alone() -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tokens = torch.randint(0, 20, (3, 5))
    with watch(model, optimizer) as monitor:
        for _ in range(14):
            new_head(model, optimizer)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    readings = monitor.latest().readings
    assert readings["train/loss"] > 0
    assert "optim/grad_norm" not in readings
    assert any("others at every step" in row.dark for row in monitor.coverage())
