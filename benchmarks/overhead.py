"""What watching costs: the paired ratio of a monitored training step to a bare one, and host reads a step.

Two copies of one model train in turn on the same batches, a few steps each, in alternating order; one of
them is watched with everything on: taps, detectors, run folder and TensorBoard. Ratios are taken pair by
pair, since absolute times on a shared machine say little.

    python benchmarks/overhead.py                    # the probe's size, every step
    python benchmarks/overhead.py --size gpt --every 10
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stabilitykit import watch
from stabilitykit.model import Transformer, TransformerConfig

SIZES = {
    "probe": {"n_layers": 6, "d_model": 64, "seq_len": 64},
    "gpt": {"n_layers": 4, "d_model": 128, "seq_len": 128},
}
BATCH = 8


class Loop:
    """A bare training loop."""

    def __init__(self, config: TransformerConfig) -> None:
        self.model = Transformer(config, seed=0)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=(0.9, 0.95))

    def step(self, batch: Tensor) -> Tensor:
        """Train on one batch; returns the loss."""
        loss = F.cross_entropy(self.model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="probe")
    parser.add_argument("--arch", default="pre_norm")
    parser.add_argument("--every", type=int, default=1, help="observe every n-th step")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10, help="steps of each loop in a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = TransformerConfig.model_validate({"wiring": arguments.arch, **SIZES[arguments.size]})
    bare, watched = Loop(config), Loop(config)
    tokens = torch.randint(0, 256, (arguments.steps, BATCH, config.seq_len + 1))
    ratios, bare_ms = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        watch(
            watched.model, watched.optimizer, Path(folder) / "run", every_n_steps=arguments.every,
            on_incident=lambda incident: None,
        ) as monitor,
    ):  # fmt: skip

        def run_bare() -> float:
            start = time.perf_counter()
            for batch in tokens:
                bare.step(batch)
            return time.perf_counter() - start

        def run_watched() -> float:
            start = time.perf_counter()
            for batch in tokens:
                monitor.step(watched.step(batch))
            return time.perf_counter() - start

        run_bare(), run_watched()
        reads = monitor.host_reads
        for n in range(arguments.rounds):
            pair = [run_bare, run_watched]
            times = [run() for run in (pair if n % 2 else pair[::-1])]
            plain, seen = times if n % 2 else times[::-1]
            ratios.append(seen / plain)
            bare_ms.append(1e3 * plain / arguments.steps)
        reads = monitor.host_reads - reads
        record = monitor.latest()
        n_readings = len(record.tags) if record else 0
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    print(
        f"{arguments.size} {arguments.arch}, every {arguments.every}: ratio {middle:.3f} "
        f"(quartiles {low:.3f} to {high:.3f}, best {min(ratios):.3f}) over {arguments.rounds} pairs of "
        f"{arguments.steps} steps; bare step {np.median(bare_ms):.1f} ms; {n_readings} readings; "
        f"{reads / (arguments.rounds * arguments.steps):.2f} host reads a step"
    )


if __name__ == "__main__":
    main()
