"""Every preset compiles as one graph and learns what it learns uncompiled."""

import shutil
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stabilitykit.model import Transformer, TransformerConfig
from stabilitykit.model.presets import PRESETS, preset

pytestmark = [
    pytest.mark.slow,
    # torch's tracer makes an instance of every autograd function that it meets.
    pytest.mark.filterwarnings("ignore:.*should not be instantiated.*:DeprecationWarning"),
]


def smallest(name: str) -> TransformerConfig:
    """Return a preset with one layer, two where its layers differ."""
    config = preset(name, "tiny")
    return config if len(set(config.pattern)) > 1 else preset(name, "tiny", n_layers=1)


def losses(model: Transformer, run: Callable[[Tensor], Tensor]) -> list[float]:
    """Train for three steps on one batch."""
    # In evaluation mode, since dropout draws other numbers in compiled code.
    model.eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tokens = torch.randint(256, (2, 33), generator=torch.Generator().manual_seed(0))
    found = []
    for _ in range(3):
        loss = F.cross_entropy(run(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def compiled_and_plain(config: TransformerConfig, backend: str) -> tuple[list[float], list[float]]:
    """Return the losses of a model as one compiled graph, and those of its twin uncompiled."""
    torch._dynamo.reset()
    one, other = Transformer(config, seed=1), Transformer(config, seed=1)
    return losses(one, torch.compile(one, backend=backend, fullgraph=True)), losses(other, other)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_one_graph(name: str) -> None:
    compiled, plain = compiled_and_plain(smallest(name), "aot_eager")
    assert compiled == pytest.approx(plain, rel=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler for CPUs calls g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["gpt2", "llama2", "gemma2"])
def test_a_preset_runs_in_generated_code(name: str) -> None:
    compiled, plain = compiled_and_plain(smallest(name), "inductor")
    assert compiled == pytest.approx(plain, rel=1e-4)
