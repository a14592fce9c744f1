"""What cross-entropy with z-loss costs, forward and backward: paired ratio to two of torch's functions.

python -m benchmarks.speed.loss_speed
python -m benchmarks.speed.loss_speed --sizes 1024x50304
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F

from benchmarks.speed.paired import paired_times
from stabilitykit.lab.cost.spread import median_ratio
from stabilitykit.lab.training.loss import cross_entropy_with_z_loss

COEFFICIENT = 1e-4


def compare(tokens: int, vocabulary: int, rounds: int) -> None:
    """Measure one size and print its ratio."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(tokens, vocabulary, generator=generator, requires_grad=True)
    targets = torch.randint(vocabulary, (tokens,), generator=generator)

    def fused() -> object:
        return torch.autograd.grad(cross_entropy_with_z_loss(logits, targets, COEFFICIENT).total, logits)

    def separate() -> object:
        z_loss = COEFFICIENT * logits.logsumexp(-1).square().mean()
        return torch.autograd.grad(F.cross_entropy(logits, targets) + z_loss, logits)

    ours, other = paired_times([fused, separate], rounds, 0.02).T
    print(f"{tokens} tokens, vocabulary {vocabulary}: {median_ratio(ours, other)}", flush=True)


def main() -> None:
    """Measure and print every size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["512x256", "1024x8192", "128x50304"])
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for size in arguments.sizes:
        tokens, vocabulary = map(int, size.split("x"))
        compare(tokens, vocabulary, arguments.rounds)


if __name__ == "__main__":
    main()
