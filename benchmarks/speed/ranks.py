"""What merging over ranks costs: the paired ratio of a watched distributed step to one that is not merged.

Every rank trains two copies of one model in turn on its own batches, a few steps each, in alternating order;
both are watched, and one of them merges with the other ranks. Beside it, the collective's own time. A command
line of torchrun decides how many ranks there are; with GPUs the backend is NCCL, else gloo.

    python -m benchmarks.speed.ranks                                  # starts two processes on this machine
    torchrun --nproc-per-node 8 -m benchmarks.speed.ranks --how fsdp  # on GPUs: what no CPU can show
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from stabilitykit import watch
from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.live.loop import LoopMonitor
from stabilitykit.observe.ranks import Ranks

SIZES = {
    "probe": {"n_layers": 6, "d_model": 64, "seq_len": 64},
    "gpt": {"n_layers": 4, "d_model": 128, "seq_len": 128},
}
BATCH = 8


class Loop:
    """A distributed training loop."""

    def __init__(self, config: TransformerConfig, how: str, device: torch.device) -> None:
        model = Transformer(config, seed=0).to(device)
        if how == "fsdp":
            for block in model.blocks:
                fully_shard(block)
            fully_shard(model)
        self.model = model if how == "fsdp" else DistributedDataParallel(model)
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
    """Measure and print, or start the processes that do."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="probe")
    parser.add_argument("--how", choices=("ddp", "fsdp"), default="ddp")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10, help="steps of each loop in a round")
    arguments = parser.parse_args()
    if "RANK" not in os.environ:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        sys.exit(subprocess.run([*launch, "-m", "benchmarks.speed.ranks", *sys.argv[1:]]).returncode)
    torch.set_num_threads(1)
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else None
    if device:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device else "gloo")
    measure(arguments, device or torch.device("cpu"))
    dist.destroy_process_group()


def measure(arguments: argparse.Namespace, device: torch.device) -> None:
    """Train both copies in turn and print the ratio."""
    config = TransformerConfig.model_validate(SIZES[arguments.size])
    merging, single = Loop(config, arguments.how, device), Loop(config, arguments.how, device)
    generator = torch.Generator().manual_seed(dist.get_rank())
    tokens = torch.randint(0, 256, (arguments.steps, BATCH, config.seq_len + 1), generator=generator)
    tokens = tokens.to(device)
    merges: list[float] = []
    merge = Ranks.merge

    def timed(*values: object) -> object:
        start = time.perf_counter()
        result = merge(*values)  # type: ignore[arg-type]
        merges.append(1e3 * (time.perf_counter() - start))
        return result

    with (
        mock.patch.object(Ranks, "merge", timed),
        watch(merging.model, merging.optimizer, on_incident=lambda incident: None) as first,
        mock.patch.object(Ranks, "current", return_value=None),
        watch(single.model, single.optimizer, on_incident=lambda incident: None) as second,
    ):
        ratios = paired(lambda: run(merging, first, tokens), lambda: run(single, second, tokens), arguments)
        sent = first.host_reads
    if dist.get_rank() == 0:
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        print(
            f"{arguments.how} {arguments.size}, {dist.get_world_size()} ranks, {dist.get_backend()}: merged "
            f"to not merged {middle:.3f} (quartiles {low:.3f} to {high:.3f}) over {len(ratios)} pairs of "
            f"{arguments.steps} steps; gathering and merging {np.median(merges):.2f} ms a step, "
            f"fastest tenth {np.percentile(merges, 10):.2f}; {sent} reads in {len(merges)} steps"
        )


def run(loop: Loop, monitor: LoopMonitor, tokens: Tensor) -> float:
    """Return how long some steps take."""
    start = time.perf_counter()
    for batch in tokens:
        monitor.step(loop.step(batch))
    return time.perf_counter() - start


def paired(
    one: Callable[[], float], other: Callable[[], float], arguments: argparse.Namespace
) -> list[float]:
    """Return the ratios of the two, taken in alternating order."""
    one(), other()
    ratios = []
    for n in range(arguments.rounds):
        dist.barrier()
        if n % 2:
            first, second = one(), other()
        else:
            second, first = other(), one()
        ratios.append(first / second)
    return ratios


if __name__ == "__main__":
    main()
