"""A tiny model, and a bare training step of it."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.observe import Collector

Step = Callable[..., Tensor]


@pytest.fixture
def build() -> Callable[..., tuple[Transformer, torch.optim.Optimizer]]:
    def make(**fields: object) -> tuple[Transformer, torch.optim.Optimizer]:
        small = {"d_model": 32, "n_layers": 3, "seq_len": 16, **fields}
        model = Transformer(TransformerConfig.model_validate(small), seed=1)
        return model, torch.optim.AdamW(model.parameters(), lr=1e-2)

    return make


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, 256, (8, 4, 17), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def step() -> Step:
    def run(
        model: Transformer,
        optimizer: torch.optim.Optimizer,
        batches: Tensor,
        collector: Collector | None = None,
        clip: float = 0.5,
    ) -> Tensor:
        """Train on some microbatches; returns their mean loss."""
        total = torch.zeros(())
        if collector:
            collector.arm()
        for batch in batches:
            loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
            (loss / len(batches)).backward()
            total = total + loss.detach() / len(batches)
            if collector:
                collector.add_scalars({"loss": loss})
        if collector:
            collector.read_gradients()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
        return total

    return run
