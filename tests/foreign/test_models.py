"""Each foreign model trains a step, and is the same model each time it is built."""

import pytest
import torch
from foreign.models import BUILDERS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", BUILDERS)
def test_a_builder_gives_the_same_trainable_model_each_time(name: str) -> None:
    losses = []
    for _ in range(2):
        model, inputs, loss = BUILDERS[name]()
        assert model.training
        torch.manual_seed(3)
        value = loss(model, inputs)
        value.backward()
        losses.append(value)
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert losses[0].isfinite()
    assert torch.equal(*losses)
