"""The course of a run with Lightning: validation, errors, second fits, resuming, loaders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from stabilitykit import StabilityMonitor

from .kit import (
    Module,
    agree,
    batches,
    fit,
    hooks_of,
    loader,
    mode,
    records,
    watched,
)


class Validating(Module):
    """Validates on other batches than it trains on."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.loss({key: value[:1] for key, value in batch.items()})


@mode("Lightning, sanity check and validation in between", "nothing of them is recorded")
def validation(folder: Path) -> None:
    _, expected = watched(Module(), batches(), folder / "plain")
    monitor = StabilityMonitor(logdir=folder / "run")
    trainer_options = {"val_check_interval": 1, "num_sanity_val_steps": 2, "steps": 4}
    module = Validating()

    class Both(L.LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader(batches())

        def val_dataloader(self) -> Any:
            return loader(batches(count=2))

    fit(module, Both(), folder, monitor, **trainer_options)
    found = records(folder / "run")
    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        agree(one, other, 1e-6, skip=())


@mode(
    "Lightning, an exception or an interrupt in a step", "what there is is kept, no hook and no mode is left"
)
def exceptions(folder: Path) -> None:
    for error in (RuntimeError, KeyboardInterrupt):
        for at in (0, 2):

            class Failing(Module):
                def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                    if batch_idx == at:  # noqa: B023
                        self.model.transformer["h"][1].mlp.register_forward_hook(self.fail)
                    return super().training_step(batch, batch_idx)

                def fail(self, *_: Any) -> None:
                    raise error("mine")  # noqa: B023

            module, run = Failing(), folder / f"{error.__name__}{at}"
            monitor = StabilityMonitor(logdir=run)
            try:
                fit(module, loader(batches()), folder, monitor)
            except (RuntimeError, KeyboardInterrupt, SystemExit):
                pass
            else:
                raise AssertionError("the error did not come through")
            assert len(records(run)) == at
            assert not monitor.verdict().complete
            assert hooks_of(module) == 1
            assert torch._C._len_torch_function_stack() == 0


@mode("`Trainer.fit` again with the same callback", "going on: one run; a new Trainer: a folder of its own")
def twice(folder: Path) -> None:
    module, monitor = Module(), StabilityMonitor(logdir=folder / "run")
    trainer = fit(module, loader(batches()), folder, monitor, steps=3)
    trainer.fit_loop.epoch_loop.max_steps = 6
    fit(module, loader(batches()), folder, trainer=trainer)
    assert [r.step for r in records(folder / "run")] == list(range(6))
    assert monitor.verdict().complete
    fit(Module(), loader(batches()), folder, monitor, steps=2)
    assert monitor.folder == folder / "run-2"
    assert [r.step for r in records(folder / "run-2")] == [0, 1]


@mode("two monitors in one Trainer", "folders and states of their own, also after a resume")
def two_monitors(folder: Path) -> None:
    def pair() -> tuple[StabilityMonitor, StabilityMonitor]:
        return StabilityMonitor(), StabilityMonitor(every_n_steps=2)

    trainer = fit(Module(), loader(batches()), folder, *pair(), steps=3)
    trainer.save_checkpoint(folder / "broken.ckpt")
    fit(Module(), loader(batches()), folder, *pair(), steps=6, ckpt=folder / "broken.ckpt")
    assert [r.step for r in records(folder / "stability")] == list(range(6))
    assert [r.step for r in records(folder / "stability-2")] == [0, 2, 4]


@mode(
    "Lightning, resume from a checkpoint, also within an accumulation",
    "one run in one folder, no step missing or twice",
)
def resume(folder: Path) -> None:
    _, whole = watched(Module(), batches(count=8), folder / "whole", steps=4, accumulate_grad_batches=2)

    class Saving(L.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, n: int) -> None:
            if n == 4:
                trainer.save_checkpoint(folder / "inside.ckpt")
                trainer.should_stop = True

    monitor = StabilityMonitor(logdir=folder / "parts")
    options = {"accumulate_grad_batches": 2, "min_steps": 1}
    fit(Module(), loader(batches(count=8)), folder, monitor, Saving(), steps=4, **options)
    again = StabilityMonitor(logdir=folder / "parts")
    fit(Module(), loader(batches(count=8)), folder, again, steps=4, ckpt=folder / "inside.ckpt", **options)
    found = records(folder / "parts")
    assert [r.step for r in found] == [0, 1, 2, 3]
    for one, other in zip(found[:2], whole[:2], strict=True):
        assert one == other


class Stream(IterableDataset[Any]):
    """Batches without a length."""

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        yield from batches(count=5)


@mode(
    "Lightning, `IterableDataset`, `limit_train_batches`, `overfit_batches`, `max_steps` in a window",
    "a record for every optimizer step",
)
def loaders(folder: Path) -> None:
    cases: list[tuple[Any, dict[str, Any], int]] = [
        (loader(Stream()), {"steps": 7}, 7),
        (loader(batches()), {"steps": 5, "limit_train_batches": 2}, 5),
        (loader(batches()), {"steps": 4, "overfit_batches": 1}, 4),
        (loader(batches(count=6)), {"steps": 2, "accumulate_grad_batches": 4}, 2),
        (loader(batches(count=3)), {"steps": -1, "max_epochs": 2, "accumulate_grad_batches": 2}, 4),
    ]
    for n, (data, options, expected) in enumerate(cases):
        monitor, found = watched(Module(), data, folder / str(n), **options)
        assert [r.step for r in found] == list(range(expected)), (n, [r.step for r in found])
        assert monitor.verdict().complete
