"""Lightning on two ranks; as a script it lets Lightning start them."""

import logging
import math
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from integration.rank_jobs import BATCH, SEQ, VOCABULARY, build
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from stabilitykit import StabilityMonitor


@dataclass
class Fit:
    """How to fit."""

    folder: Path
    strategy: str = "ddp"
    """What the Trainer is given; ``fully_shard`` for its ModelParallelStrategy, ``alone`` for one process."""
    own: bool = True
    steps: int = 4
    rows: int = 2 * BATCH + BATCH // 2
    """Of an epoch, whose last batch is half a batch unless told otherwise."""
    accumulate: int = 1
    poison_at: int | None = None
    """Batch at which the last rank's loss is NaN."""
    on_incident: Any = "log"
    save: Path | None = None
    load: Path | None = None


@dataclass
class Seen:
    """What a rank saw."""

    records: list[tuple[int, tuple[str, ...], bytes]] = field(default_factory=list)
    readings: list[dict[str, float]] = field(default_factory=list)
    host_reads: int = 0
    global_step: int = 0
    folder: Path | None = None
    error: str = ""


class Module(L.LightningModule):
    """Trains one of the small models; shards it where there is a mesh."""

    def __init__(self, fit: Fit) -> None:
        super().__init__()
        self.fit, self.net = fit, build(fit.own)

    def configure_model(self) -> None:
        """Spread the weights, once."""
        if self.fit.strategy == "fully_shard" and not hasattr(self.net, "unshard"):
            mesh = self.device_mesh["data_parallel"]
            for block in self.net.blocks if self.fit.own else self.net.h:
                fully_shard(block, mesh=mesh)
            fully_shard(self.net, mesh=mesh)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss."""
        loss = F.cross_entropy(self.net(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        poisoned = self.fit.poison_at == batch_idx and self.global_rank == self.trainer.world_size - 1
        return loss * math.nan if poisoned else loss

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Return this rank's rows: those of a batch are the same whatever the number of ranks."""
        generator = torch.Generator().manual_seed(5)
        rows = torch.randint(0, VOCABULARY, (self.fit.rows, SEQ + 1), generator=generator)
        size = self.trainer.world_size
        return DataLoader(rows[self.global_rank :: size], batch_size=BATCH // size)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class Notes(L.Callback):
    """Writes down what the monitor says after each step."""

    def __init__(self, monitor: StabilityMonitor) -> None:
        self.monitor, self.seen = monitor, Seen()

    def on_train_batch_end(self, *_: Any) -> None:
        """Take the newest record once."""
        record, seen = self.monitor.latest(), self.seen
        if record is not None and (not seen.records or seen.records[-1][0] < record.step):
            seen.records.append((record.step, record.tags, record.values.tobytes()))
            seen.readings.append(dict(record.readings))


def fit(rank: int, what: Fit) -> Seen:
    """Fit, watched."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    is_alone = what.strategy == "alone"
    monitor = StabilityMonitor(on_incident=what.on_incident, logdir=what.folder / "run")
    notes = Notes(monitor)
    sharding = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1 if is_alone else 2,
        strategy={"alone": "auto", "fully_shard": sharding}.get(what.strategy, what.strategy),
        max_steps=what.steps,
        max_epochs=-1,
        accumulate_grad_batches=what.accumulate,
        # Lightning cannot clip by norm what fully_shard has spread.
        gradient_clip_val=None if what.strategy == "fully_shard" else 100.0,
        default_root_dir=what.folder,
        callbacks=[monitor, notes],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    seen = notes.seen
    try:
        trainer.fit(Module(what), ckpt_path=what.load, weights_only=False)
        if what.save:
            trainer.save_checkpoint(what.save)
    except Exception as error:
        seen.error = f"{type(error).__name__}: {error}"
    seen.global_step, seen.folder = trainer.global_step, monitor.folder
    if what.strategy != "ddp_spawn":
        seen.host_reads = monitor.host_reads
    return seen


if __name__ == "__main__":
    found = fit(0, Fit(Path(sys.argv[2]), strategy=sys.argv[1]))
    if found.error:
        sys.exit(found.error)
