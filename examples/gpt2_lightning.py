"""A GPT-2 of Hugging Face in Lightning: one line attaches the monitor.

pip install stabilitykit transformers
"""

import argparse
import json
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel

from stabilitykit import StabilityMonitor

TEXT = Path(json.__file__).read_bytes() + Path(argparse.__file__).read_bytes()


class LanguageModel(L.LightningModule):
    """Predicts the next byte."""

    def __init__(self, length: int = 64) -> None:
        super().__init__()
        config = GPT2Config(
            vocab_size=256, n_positions=length, n_embd=64, n_layer=4, n_head=4, bos_token_id=0, eos_token_id=0
        )
        self.gpt2 = GPT2LMHeadModel(config)

    def training_step(self, tokens: torch.Tensor, index: int) -> torch.Tensor:
        """Return the loss of a batch."""
        return self.gpt2(input_ids=tokens, labels=tokens).loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def main(steps: int, folder: Path) -> None:
    """Train, and say how it went."""
    L.seed_everything(0)
    windows = torch.frombuffer(bytearray(TEXT), dtype=torch.uint8).long().unfold(0, 64, 64).clone()
    monitor = StabilityMonitor(logdir=folder)
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        gradient_clip_val=1.0,
        callbacks=[monitor],
        logger=False,
        enable_checkpointing=False,
    )
    trainer.fit(LanguageModel(), DataLoader(windows, batch_size=8, shuffle=True))
    verdict = monitor.verdict()
    print(f"{verdict.outcome}: {verdict.reason}")
    print(f"look at it:  stabilitykit diagnose {folder}   or   tensorboard --logdir {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("runs/gpt2_lightning"))
    arguments = parser.parse_args()
    main(arguments.steps, arguments.folder)
