"""A vision transformer in Lightning, with accumulated gradients and a validation loop.

The images are made: stripes of eight directions under noise, to be told apart.

pip install stabilitykit transformers
"""

import argparse
import math
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import ViTConfig, ViTForImageClassification

from stabilitykit import StabilityMonitor

DIRECTIONS = 8


def stripes(count: int, seed: int) -> TensorDataset:
    """Return images of stripes, and which direction each has."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(DIRECTIONS, (count,), generator=generator)
    angles = labels[:, None, None] * math.pi / DIRECTIONS
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    phases = torch.rand(count, 1, 1, generator=generator) * 2 * math.pi
    images = torch.sin(0.8 * (x * angles.cos() + y * angles.sin()) + phases)
    noise = torch.randn(count, 3, 32, 32, generator=generator)
    return TensorDataset(images[:, None] + 0.5 * noise, labels)


class Classifier(L.LightningModule):
    """Tells stripes apart."""

    def __init__(self) -> None:
        super().__init__()
        config = ViTConfig(
            hidden_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=128,
            image_size=32,
            patch_size=8,
            num_labels=DIRECTIONS,
        )
        self.vit = ViTForImageClassification(config)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        return self.vit(pixel_values=images, labels=labels).loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Log the share of right answers."""
        images, labels = batch
        right = self.vit(pixel_values=images).logits.argmax(-1) == labels
        self.log("accuracy", right.float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main(steps: int, folder: Path) -> None:
    """Train, and say how it went."""
    L.seed_everything(0)
    monitor = StabilityMonitor(logdir=folder)
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        accumulate_grad_batches=2,
        callbacks=[monitor],
        logger=False,
        enable_checkpointing=False,
    )
    train = DataLoader(stripes(1024, seed=0), batch_size=16, shuffle=True)
    trainer.fit(Classifier(), train, DataLoader(stripes(128, seed=1), batch_size=64))
    verdict = monitor.verdict()
    print(f"{verdict.outcome}: {verdict.reason}")
    print(f"look at it:  stabilitykit diagnose {folder}   or   tensorboard --logdir {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("runs/vit_lightning"))
    arguments = parser.parse_args()
    main(arguments.steps, arguments.folder)
