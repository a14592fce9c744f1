"""One seed gives the same bits: run again, after other random draws, and resumed from a checkpoint."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from stabilitykit.lab.training import TextDataModule, TransformerModule

Make = Callable[..., tuple[TransformerModule, TextDataModule]]
MakeTrainer = Callable[..., Trainer]
Weights = dict[str, Tensor]

STEPS = 6


class Losses(Callback):
    """Keeps what every training step returned."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.unigram: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: dict[str, float], batch: object, index: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))
        self.unigram.append(float(outputs["unigram_cross_entropy"]))


def same(one: Weights, other: Weights) -> bool:
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def run(
    parts: Make, trainer: Trainer, checkpoint: Path | None = None, seed: int = 0
) -> tuple[Losses, Weights]:
    kept = Losses()
    trainer.callbacks.append(kept)
    module, data = parts(seed=seed)
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return kept, module.state_dict()


def test_one_seed_gives_the_same_bits_whatever_the_global_state(parts: Make, trainer: MakeTrainer) -> None:
    torch.manual_seed(1)
    one, weights = run(parts, trainer())
    torch.manual_seed(2)
    torch.randn(5)
    other, other_weights = run(parts, trainer())
    assert len(one.losses) == STEPS
    assert one.losses == other.losses
    assert one.unigram == other.unigram
    assert same(weights, other_weights)
    different, _ = run(parts, trainer(), seed=3)
    assert different.losses[0] != one.losses[0]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_saved_after_a_fit_and_resumed_equals_unbroken(
    parts: Make, trainer: MakeTrainer, tmp_path: Path, accumulate: int
) -> None:
    whole, weights = run(parts, trainer(accumulate_grad_batches=accumulate))
    first = trainer(max_steps=3, accumulate_grad_batches=accumulate)
    before, _ = run(parts, first)
    first.save_checkpoint(tmp_path / "three.ckpt")
    after, resumed = run(parts, trainer(accumulate_grad_batches=accumulate), tmp_path / "three.ckpt")
    assert len(whole.losses) == STEPS * accumulate
    assert len(before.losses) == 3 * accumulate
    assert before.losses + after.losses == whole.losses
    assert same(weights, resumed)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("saved_at", [1, 4])
def test_saved_on_the_way_and_resumed_equals_unbroken(
    parts: Make, trainer: MakeTrainer, tmp_path: Path, accumulate: int, saved_at: int
) -> None:
    def saving() -> Trainer:
        saver = ModelCheckpoint(tmp_path, "at-{step}", every_n_train_steps=saved_at, save_top_k=-1)
        return trainer(enable_checkpointing=True, callbacks=[saver], accumulate_grad_batches=accumulate)

    whole, weights = run(parts, saving())
    after, resumed = run(parts, saving(), tmp_path / f"at-step={saved_at}.ckpt")
    assert after.losses == whole.losses[saved_at * accumulate :]
    assert same(weights, resumed)


class Breaks(Callback):
    """Fails in the middle of a step, and saves as it goes down."""

    def __init__(self, path: Path, at: int) -> None:
        self.path = path
        self.at = at

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if trainer.global_step == self.at:
            raise RuntimeError("pulled the plug")

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        trainer.save_checkpoint(self.path)


def test_a_batch_in_flight_when_the_run_broke_is_drawn_again(
    parts: Make, trainer: MakeTrainer, tmp_path: Path
) -> None:
    whole, weights = run(parts, trainer())
    with pytest.raises(RuntimeError, match="plug"):
        run(parts, trainer(callbacks=[Breaks(tmp_path / "broken.ckpt", at=2)]))
    after, resumed = run(parts, trainer(), tmp_path / "broken.ckpt")
    assert after.losses == whole.losses[2:]
    assert same(weights, resumed)


def test_a_second_epoch_draws_new_batches(parts: Make, trainer: MakeTrainer) -> None:
    longer, _ = run(parts, trainer(max_steps=2 * STEPS))
    assert len(longer.losses) == 2 * STEPS
    assert len(set(longer.unigram)) == 2 * STEPS
