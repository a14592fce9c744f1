"""The transformer as a LightningModule."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.transformer import Transformer
from stabilitykit.lab.training.config import OptimizerConfig, ScheduleConfig, check_optimizer, check_sharpness
from stabilitykit.lab.training.loss import next_token_losses
from stabilitykit.lab.training.optimizers import build_optimizer
from stabilitykit.lab.training.schedules import lr_factor, resolve_warmup
from stabilitykit.lab.training.sharpness import Sharpness, stability_threshold


class TransformerModule(LightningModule):
    """Trains a transformer on next-token prediction; clipping is the Trainer's.

    Its dict of a training step carries ``unigram_cross_entropy`` beside the loss: what a model would lose on
    the same targets that knew nothing but the training split's frequencies. With ``model.head.z_loss`` above
    0 the loss, which is what is optimised, is the sum of ``cross_entropy`` and ``z_loss``, both in the dict.
    Where sharpness is measured, ``preconditioned_sharpness`` is there too, and ``edge_of_stability``, that
    over the threshold (2 + 2·β1)/((1 − β1)·η): at 1 Adam is at the edge (Cohen et al. 2207.14484).
    """

    def __init__(
        self,
        model_config: TransformerConfig,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        total_steps: int,
        seed: int,
        unigram: NDArray[np.float64] | None = None,
        sharpness_every_n_steps: int | None = None,
    ) -> None:
        """Build and initialise the model.

        Args:
            model_config: What the model is made of.
            optimizer: Which optimizer, and its values.
            schedule: How the learning rate moves.
            total_steps: Optimizer steps of the whole run.
            seed: Of the initial weights.
            unigram: Probability of every token in the training split, all above 0.
            sharpness_every_n_steps: Measure the sharpness at every n-th step but the first; None: never.

        Raises:
            ConfigError: The warmup is longer than the run, the vocabulary smaller than ``unigram``, the
                optimizer not one for the model's learning rates, or no AdamW where sharpness is measured.
        """
        super().__init__()
        resolve_warmup(schedule, total_steps)
        check_optimizer(optimizer, model_config)
        check_sharpness(sharpness_every_n_steps, optimizer)
        if unigram is not None and len(unigram) > model_config.vocab_size:
            raise ConfigError(
                f"model.vocab_size: got {model_config.vocab_size}; "
                f"must be at least {len(unigram)}, the data's tokens"
            )
        self.model = Transformer(model_config, seed=seed)
        self.optimizer_config = optimizer
        self.schedule_config = schedule
        self.total_steps = total_steps
        self.sharpness_every_n_steps = sharpness_every_n_steps
        self._meter: Sharpness | None = None
        self.unigram_surprise: Tensor | None
        surprise = None if unigram is None else torch.from_numpy(-np.log(unigram)).float()
        self.register_buffer("unigram_surprise", surprise, persistent=False)

    def forward(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        """Return the logits of every next token."""
        logits: Tensor = self.model(tokens)
        return logits

    def training_step(self, batch: Int[Tensor, "batch window"], batch_idx: int) -> dict[str, Tensor]:
        """Return the mean loss of a batch, in nats a token, its parts, and the unigram's on the same targets.

        Args:
            batch: Windows of one token more than is predicted.
            batch_idx: Not looked at.
        """
        step = self._losses(batch)
        if self.unigram_surprise is not None:
            step["unigram_cross_entropy"] = self.unigram_surprise[batch[:, 1:]].mean()
        every = self.sharpness_every_n_steps
        if every is not None and self.global_step and self.global_step % every == 0:
            step |= self._sharpness(batch)
        return step

    def validation_step(self, batch: Int[Tensor, "batch window"], batch_idx: int) -> None:
        """Log ``val_loss``, the mean cross-entropy of the validation windows in nats a token.

        Args:
            batch: Windows of one token more than is predicted.
            batch_idx: Not looked at.
        """
        self.log("val_loss", F.cross_entropy(*self._predictions(batch)), batch_size=len(batch))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and its schedule, which moves every optimizer step.

        What decays and what learns at a rate of its own is up to ``parameter_groups``.
        """
        optimizer = build_optimizer(self.model, self.optimizer_config)
        factor = partial(lr_factor, schedule=self.schedule_config, total_steps=self.total_steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _sharpness(self, batch: Int[Tensor, "batch window"]) -> dict[str, Tensor]:
        if self._meter is None:
            # Not before the model is on its device.
            self._meter = Sharpness(self.model)
        optimizer = self.trainer.optimizers[0]
        value = self._meter.measure(self.model, optimizer, batch)
        threshold = stability_threshold(optimizer.param_groups[0]["lr"], self.optimizer_config.beta1)
        readings = {"preconditioned_sharpness": value, "edge_of_stability": value / threshold}
        return {name: torch.tensor(reading) for name, reading in readings.items()}

    def _losses(self, batch: Int[Tensor, "batch window"]) -> dict[str, Tensor]:
        return next_token_losses(*self._predictions(batch), self.model.config.head.z_loss)

    def _predictions(
        self, batch: Int[Tensor, "batch window"]
    ) -> tuple[Float[Tensor, "token vocab"], Int[Tensor, "token"]]:
        return self(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()
