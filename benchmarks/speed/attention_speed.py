"""What shortcuts of attention save: paired ratios, forward and backward, to the same result without them.

Sliding and chunked windows block by block against a mask over all keys; shared key heads in the fused kernel
against repeated ones; a bias of four dimensions, as ALiBi's is given, against one of three.

    python -m benchmarks.speed.attention_speed
"""

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.paired import paired_times
from stabilitykit.lab.cost.spread import median_ratio
from stabilitykit.lab.model.context import visible
from stabilitykit.lab.model.scores import fused
from stabilitykit.lab.model.sections import LayerKind
from stabilitykit.lab.model.windows import band, windowed

BATCH, HEADS, WIDTH, SCALE = 4, 4, 32, 0.2
WINDOWS = ((128, 32), (256, 64), (512, 64), (1024, 128))
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def compare(name: str, length: int, kv_heads: int, ours: Attend, other: Attend, rounds: int) -> None:
    """Measure one pair and print its ratio."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, dy = (
        torch.randn(BATCH, length, heads, WIDTH, generator=generator)
        for heads in (HEADS, kv_heads, kv_heads, HEADS)
    )
    inputs = [each.transpose(1, 2).requires_grad_() for each in (q, k, v)]

    def training_call(attend: Attend) -> Callable[[], object]:
        return lambda: torch.autograd.grad(attend(*inputs), inputs, dy.transpose(1, 2))

    mine, theirs = paired_times([training_call(ours), training_call(other)], rounds, 0.03).T
    print(f"{name}, T {length}: {median_ratio(mine, theirs)}", flush=True)


def main() -> None:
    """Measure and print every pair."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for length, window in WINDOWS:
        for span, seen in (("sliding", band(length, window, torch.device("cpu"))), ("chunked", None)):
            mask = visible(LayerKind.model_validate({"span": span, "window": window}), length)
            compare(
                f"{span} {window} by blocks",
                length,
                HEADS,
                lambda q, k, v, window=window, seen=seen: windowed(q, k, v, window, seen, SCALE, 0.0),
                lambda q, k, v, mask=mask: fused(q, k, v, mask, SCALE),
                rounds,
            )
    for length in (128, 512):
        compare(
            "one key head for four",
            length,
            1,
            lambda q, k, v: fused(q, k, v, None, SCALE),
            lambda q, k, v: fused(q, *(x.repeat_interleave(HEADS, 1) for x in (k, v)), None, SCALE),
            rounds,
        )
        mask = torch.zeros(HEADS, length, length).masked_fill(~visible(LayerKind(), length), -torch.inf)
        compare(
            "a bias in the fused kernel",
            length,
            HEADS,
            lambda q, k, v, mask=mask: fused(q, k, v, mask, SCALE),
            lambda q, k, v, mask=mask: F.scaled_dot_product_attention(q, k, v, mask, scale=SCALE),
            rounds,
        )


if __name__ == "__main__":
    main()
