"""What it costs to see attention: paired, interleaved forwards with and without taps, in CPU time.

Usage: python -m benchmarks.speed.attention_cost [--pairs N]
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stabilitykit.observe.attention_tap import AttentionTap
from stabilitykit.observe.partials import PartialBuffer
from stabilitykit.observe.site import Role, Site


class Size(NamedTuple):
    """A stack of attention calls."""

    layers: int
    batch: int
    length: int
    heads: int
    width: int
    dropout: float = 0.0
    eager: bool = False


SIZES = {
    "long": Size(1, 1, 2048, 4, 64),
    "long, dropout": Size(1, 1, 2048, 4, 64, dropout=0.1),
    "long, eager": Size(1, 1, 2048, 4, 64, eager=True),
    "gpt": Size(4, 8, 128, 4, 32),
    "gpt, dropout": Size(4, 8, 128, 4, 32, dropout=0.1),
    "gpt, eager": Size(4, 8, 128, 4, 32, eager=True),
    "probe": Size(6, 8, 64, 4, 16),
}


class Attention(nn.Module):
    """Causal attention over given queries, keys and values."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return what every query gathers."""
        if not self.size.eager:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.size.dropout)
        s = q @ k.mT * self.size.width**-0.5
        hidden = torch.ones(s.shape[-2:], dtype=torch.bool).triu(1)
        return F.softmax(s.masked_fill(hidden, float("-inf")), dim=-1) @ v


def cost(size: Size, pairs: int) -> tuple[float, np.ndarray]:
    """Return the bare forward's time in ms, and the ratios of watched to bare."""
    layers = [Attention(size) for _ in range(size.layers)]
    g = torch.Generator().manual_seed(0)
    shape = (3, size.batch, size.heads, size.length, size.width)
    data = [torch.randn(shape, generator=g).requires_grad_().unbind() for _ in layers]
    buffer = PartialBuffer(size.layers, torch.device("cpu"))
    armed = [False]
    for row, layer in enumerate(layers):
        site = Site(f"blocks.{row}", "", Role.ATTENTION)
        AttentionTap(site, row, buffer, lambda _: armed[0], _fail).attach(layer)

    def forward() -> None:
        for layer, qkv in zip(layers, data, strict=True):
            layer(*qkv)
        if armed[0]:
            buffer.partials()
            buffer.reset()

    bare, ratios = [], []
    for pair in range(pairs + 3):
        times = {}
        for armed[0] in (True, False) if pair % 2 else (False, True):
            times[armed[0]] = _timed(forward)
        bare.append(times[False] * 1e3)
        ratios.append(times[True] / times[False])
    return float(np.median(bare[3:])), np.array(ratios[3:])


def _fail(site: str, error: BaseException) -> None:
    raise error


def _timed(run: Callable[[], None]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


def main() -> None:
    """Print one line a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    print("| attention | forward, ms | ratio, median (quartiles) | added, µs a layer |")
    print("|---|---|---|---|")
    for name, size in SIZES.items():
        milliseconds, ratios = cost(size, pairs // 5 if size.length > 1000 else pairs)
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        added = (middle - 1) * milliseconds * 1e3 / size.layers
        print(f"| {name} | {milliseconds:.2f} | {middle:.2f} ({low:.2f} to {high:.2f}) | {added:.0f} |")


if __name__ == "__main__":
    main()
