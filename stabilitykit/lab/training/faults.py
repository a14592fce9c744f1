"""Faults put into a run on purpose: what goes wrong, and when, is known."""

from typing import Any

import lightning as L
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from stabilitykit.lab.training.config import FaultConfig
from stabilitykit.lab.training.module import TransformerModule

_FEW_BITS = torch.float8_e4m3fn


class FaultInjection(L.Callback):
    """Disturbs the steps of a run that a fault touches, and no other.

    A callback that is to read what went wrong on the very step comes after this one. It draws no random
    numbers but its own, so all that comes before the fault is what it would have been without. Several
    processes do the same to their rows of the batch.
    """

    def __init__(self, fault: FaultConfig) -> None:
        """Remember the fault.

        Args:
            fault: What goes wrong, and when.
        """
        self._fault = fault
        self._step: int | None = None
        self._hook: RemovableHandle | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Come between the model and the loss.

        Raises:
            TypeError: The module is another than ``TransformerModule``.
        """
        if not isinstance(pl_module, TransformerModule):
            raise TypeError(f"faults need a TransformerModule, not a {type(pl_module).__name__}")
        self._hook = pl_module.model.register_forward_hook(self._after_forward)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Disturb the learning rate, which the schedule sets anew for every step, or the batch."""
        self._step = trainer.global_step if self._fault.touches(trainer.global_step) else None
        if self._step is None:
            return
        if self._fault.kind == "learning_rate":
            for optimizer in trainer.optimizers:
                _multiply_rate(optimizer, self._factor)
        elif self._fault.kind == "repeated_token":
            # The same for all processes: each has its own first token.
            batch.fill_(trainer.strategy.broadcast(batch[0, 0].item()))

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Disturb the gradient, which is unscaled here and not clipped yet, or the optimizer's state."""
        if self._step is None:
            return
        if self._fault.kind == "huge_gradient":
            _multiply_gradients(optimizer, self._factor)
        elif self._fault.kind == "lost_moments":
            _lose_second_moments(optimizer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the step."""
        self._step = None

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the model as it was."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    @property
    def _factor(self) -> float:
        return self._fault.factor or 1.0

    def _after_forward(self, model: nn.Module, inputs: object, logits: Tensor) -> Tensor:
        if self._step is None:
            return logits
        if self._fault.kind == "low_precision_logits":
            rounded: Tensor = _Rounded.apply(logits)  # type: ignore[no-untyped-call]
            return rounded
        if self._fault.kind == "shuffled_labels":
            return _shuffled(logits, self._step)
        return logits


def _multiply_rate(optimizer: Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= factor


@torch.no_grad()
def _multiply_gradients(optimizer: Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)


@torch.no_grad()
def _lose_second_moments(optimizer: Optimizer) -> None:
    for state in optimizer.state.values():
        if "exp_avg_sq" in state:
            state["exp_avg_sq"].zero_()


def _shuffled(logits: Float[Tensor, "batch seq vocab"], step: int) -> Float[Tensor, "batch seq vocab"]:
    """Return each token's logits in another's place: to the loss it is the targets that are shuffled."""
    rows = logits.flatten(0, 1)
    order: Int[Tensor, token] = torch.randperm(len(rows), generator=torch.Generator().manual_seed(step))
    return rows[order.to(rows.device)].view_as(logits)


class _Rounded(torch.autograd.Function):
    """Rounds to three bits of mantissa and saturates at ±448; the gradient is passed on as it is.

    Rounded in its turn it would be 0 almost everywhere, which is a fault of another kind.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        limit = torch.finfo(_FEW_BITS).max
        return logits.clamp(-limit, limit).to(_FEW_BITS).to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad
