"""Look at models of packages that need an environment of their own.

    python tests/foreign/elsewhere.py litgpt

litgpt pins another hub client than transformers does; timm needs torchvision, whose wheels do not import
beside the CPU build of torch that is pinned here. Prints what was found after three training steps.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from stabilitykit.observe import Collector
from stabilitykit.observe.coverage import silences, summary


def litgpt() -> tuple[nn.Module, Tensor]:
    """Return a small GPT of litgpt."""
    from litgpt import GPT, Config

    config = Config(block_size=32, padded_vocab_size=64, n_layer=3, n_head=4, n_embd=32)
    return GPT(config), torch.randint(0, 64, (2, 24))


def timm() -> tuple[nn.Module, Tensor]:
    """Return a small vision transformer of timm."""
    import timm as library

    model = library.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=3, num_classes=5)
    return model, torch.randn(2, 3, 32, 32)


BUILDERS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {"litgpt": litgpt, "timm": timm}


def main(name: str) -> None:
    """Train three steps and print the coverage."""
    model, batch = BUILDERS[name]()
    optimizer = torch.optim.AdamW(model.train().parameters())
    collector = Collector(model, [optimizer])
    collector.attach()
    for step in range(3):
        collector.arm()
        model(batch).square().mean().backward()
        collector.read_gradients()
        optimizer.step()
        optimizer.zero_grad()
        collector.collect(step)
    print(summary(collector.coverage()))
    print("\n".join(silences(collector.coverage()) or ["every site was seen"]))


if __name__ == "__main__":
    main(sys.argv[1])
