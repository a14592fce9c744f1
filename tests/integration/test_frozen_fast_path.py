"""Frozen modules of torch take their fast path in evaluation; watching leaves them on it, to the last bit."""

import pytest
import torch
from foreign.models import BUILDERS, Foreign

from stabilitykit import watch

pytestmark = pytest.mark.filterwarnings("ignore")


def attention() -> Foreign:
    foreign = BUILDERS["torch_attention"](seed=1)
    for n in (0, 1):
        foreign.model.layers[n].requires_grad_(False).eval()
        foreign.model.norms[n].requires_grad_(False)
    return foreign


def encoder() -> Foreign:
    foreign = BUILDERS["torch_encoder"](seed=1)
    foreign.model.layers[0].requires_grad_(False).eval()
    return foreign


def losses(foreign: Foreign, is_watched: bool) -> list[float]:
    torch.manual_seed(3)
    trained = [p for p in foreign.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    found = []

    def step() -> float:
        loss = foreign.loss(foreign.model, foreign.inputs)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
        return found[-1]

    if not is_watched:
        for _ in range(4):
            step()
        return found
    with watch(foreign.model, optimizer) as monitor:
        for _ in range(4):
            monitor.step(step())
    return found


def test_a_frozen_encoder_layer() -> None:
    assert losses(encoder(), True) == losses(encoder(), False)


def test_frozen_attention_while_the_model_is_found() -> None:
    assert losses(attention(), True)[0] == losses(attention(), False)[0]


def test_frozen_attention_at_every_step() -> None:
    assert losses(attention(), True) == losses(attention(), False)
