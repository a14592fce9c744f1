"""Train presets compiled as one graph, and uncompiled: prints the losses of both by name, as JSON.

python tests/unit/lab/model_presets/compile_presets.py aot_eager gpt2 llama2
"""

import json
import sys
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.lab.model.presets import preset


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


def compiled_and_plain(name: str, backend: str) -> tuple[list[float], list[float]]:
    """Return the losses of a preset compiled, and those of its twin uncompiled."""
    torch._dynamo.reset()
    one, other = (Transformer(smallest(name), seed=1) for _ in range(2))
    return losses(one, torch.compile(one, backend=backend, fullgraph=True)), losses(other, other)


if __name__ == "__main__":
    # torch's compiler trips over warnings of its own.
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    backend, *names = sys.argv[1:]
    print(json.dumps({name: compiled_and_plain(name, backend) for name in names}))
