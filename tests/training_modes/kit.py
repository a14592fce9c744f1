"""What the modes share: a model of another hand, its training, and what a reading is compared with."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from foreign.models import BUILDERS, Foreign
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stabilitykit import StabilityMonitor
from stabilitykit.records import StepRecord
from stabilitykit.store import open_run

SEED = 1


class Mode(NamedTuple):
    """One way of training, and the check that readings are right under it."""

    name: str
    right: str
    """What the check shows, in words."""
    check: Callable[[Path], None]
    slow: bool = False
    process: str = ""
    """Name shared by modes that one process checks together."""


MODES: dict[str, Mode] = {}


def mode(
    name: str, right: str, slow: bool = False, process: str = ""
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Register a check under the name of its mode."""

    def register(check: Callable[[Path], None]) -> Callable[[Path], None]:
        MODES[name] = Mode(name, right, check, slow, process)
        return check

    return register


class Module(L.LightningModule):
    """Trains a foreign model on its own batches."""

    def __init__(self, name: str = "nanogpt", lr: float = 1e-2, **fields: Any) -> None:
        super().__init__()
        self.foreign: Foreign = BUILDERS[name](seed=SEED, **fields)
        self.model = self.foreign.model
        self.lr = lr
        self.seen: list[float] = []

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.foreign.loss(self.model, dict(batch))

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.seen.append(loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.AdamW(trained, lr=self.lr)


def batches(name: str = "nanogpt", count: int = 4, size: int = 2) -> list[dict[str, Tensor]]:
    """Return seeded batches for a model, of ``size`` examples."""
    found = []
    for n in range(count):
        parts = [BUILDERS[name](seed=100 + n * size + i).inputs for i in range((size + 1) // 2)]
        found.append({key: torch.cat([part[key] for part in parts])[:size] for key in parts[0]})
    return found


def fit(
    module: L.LightningModule,
    data: Any,
    folder: Path,
    *monitors: L.Callback,
    steps: int = 4,
    ckpt: Path | None = None,
    trainer: L.Trainer | None = None,
    **options: Any,
) -> L.Trainer:
    """Train a module for some optimizer steps."""
    with quiet():
        if trainer is None:
            trainer = L.Trainer(
                **{
                    "max_steps": steps,
                    "max_epochs": -1,
                    "accelerator": "cpu",
                    "logger": False,
                    "enable_checkpointing": False,
                    "enable_progress_bar": False,
                    "enable_model_summary": False,
                    "default_root_dir": folder,
                    "callbacks": list(monitors),
                    **options,
                }
            )
        trainer.fit(module, data, ckpt_path=ckpt, weights_only=False)
    return trainer


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what Lightning says of tiny runs away."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def loader(data: Any) -> DataLoader[Any]:
    """Return a loader of batches that are made already."""
    return DataLoader(data, batch_size=None)


def watched(
    module: L.LightningModule, data: Any, folder: Path, **options: Any
) -> tuple[StabilityMonitor, Any]:
    """Train under a monitor that keeps its run in ``folder``; return it and the run's records."""
    monitor = StabilityMonitor(logdir=folder, on_incident=lambda incident: None)
    fit(module, loader(data) if isinstance(data, list) else data, folder.parent, monitor, **options)
    return monitor, records(folder)


def records(folder: Path) -> list[StepRecord]:
    """Return the records of a run."""
    return list(open_run(folder).records())


def close(found: float, expected: float, rel: float = 1e-4) -> None:
    """Require two numbers to agree."""
    if not abs(found - expected) <= rel * max(abs(expected), 1e-6):
        raise AssertionError(f"got {found}, expected {expected} within {rel:g}")


def agree(
    found: StepRecord,
    expected: StepRecord,
    rel: float = 1e-4,
    skip: tuple[str, ...] = ("attn/", "optim/", "train/"),
) -> int:
    """Require all readings of two records to agree but those skipped; return how many there were."""
    tags = [tag for tag in expected.tags if not tag.startswith(skip)]
    missing = [tag for tag in tags if tag not in found.tags]
    if missing or not tags:
        raise AssertionError(f"not read: {missing[:5]}")
    for tag in tags:
        try:
            close(found.readings[tag], expected.readings[tag], rel)
        except AssertionError as error:
            raise AssertionError(f"{tag}: {error}") from None
    return len(tags)


def hooks_of(model: nn.Module) -> int:
    """Count the hooks on a model and its parameters."""
    found = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return found + sum(len(p._post_accumulate_grad_hooks or ()) for p in model.parameters())


def fp16() -> MixedPrecision:
    """Return real half precision with a loss scaler, on the CPU."""
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))


def grad_norm(model: nn.Module) -> float:
    """Return the norm of all gradients there are."""
    return float(
        torch.stack([p.grad.double().norm() for p in model.parameters() if p.grad is not None]).norm()
    )
