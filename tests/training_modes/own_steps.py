"""Ways of training with Lightning in which the module steps by itself, or tells its loss otherwise."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .kit import Module, batches, close, fp16, grad_norm, mode, watched

ONE_PASS = {"steps": -1, "max_epochs": 1}
"""Lightning does not count the steps of bare optimizers, so ``max_steps`` would not end them."""


class Sam(torch.optim.Optimizer):
    """Sharpness-aware minimization as it is commonly written: an optimizer in an optimizer, in two steps."""

    def __init__(self, parameters: Any, **options: Any) -> None:
        super().__init__(parameters, options)
        self.base = torch.optim.SGD(self.param_groups, **options)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def first_step(self) -> None:
        """Climb to where the loss is highest nearby."""
        held = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in held]).norm()
        for p in held:
            self.state[p]["old"] = p.detach().clone()
            p.add_(p.grad, alpha=0.05 / float(norm))
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        """Step from the old weights with the gradients found there."""
        for p, kept in self.state.items():
            if "old" in kept:
                p.copy_(kept["old"])
        self.base.step()


class SamByHand(Module):
    """Takes both passes in an ``optimizer_step`` of its own, or in a manual loop over the bare optimizer."""

    def __init__(self, manual: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = not manual
        self.norms: list[float] = []

    def configure_optimizers(self) -> Any:
        return Sam(self.parameters(), lr=0.1)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        optimizer_closure()
        optimizer.first_step()
        optimizer_closure()
        self.norms.append(grad_norm(self))
        optimizer.second_step()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.automatic_optimization:
            return super().training_step(batch, batch_idx)
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        for step in (optimizer.first_step, optimizer.second_step):
            optimizer.zero_grad()
            loss = super().training_step(batch, batch_idx)
            self.manual_backward(loss)
            self.norms = [*self.norms[:batch_idx], grad_norm(self)]
            step()
        return loss


@mode(
    "Lightning, SAM in an `optimizer_step` of one's own, or over bare optimizers",
    "one step a batch; gradients and loss of the second pass; updates of the inner optimizer",
)
def sam(folder: Path) -> None:
    for manual in (False, True):
        module = SamByHand(manual)
        _, found = watched(module, batches(), folder / str(manual), **ONE_PASS)
        assert [r.step for r in found] == [0, 1, 2, 3], [r.step for r in found]
        for n, record in enumerate(found):
            close(record.readings["optim/grad_norm"], module.norms[n])
            close(record.readings["train/loss"], module.seen[2 * n + 1])
            assert record.readings["optim/skipped"] == 0
        assert any("update_ratio" in tag for tag in found[1].tags)


class ByHand(Module):
    """Clips and steps the bare optimizer, in ``optimizer_step`` or in a manual loop."""

    def __init__(self, manual: bool, closure: bool) -> None:
        super().__init__()
        self.automatic_optimization = not manual
        self.closure = closure
        self.norms: list[float] = []

    def clip(self) -> None:
        self.norms.append(grad_norm(self))
        torch.nn.utils.clip_grad_norm_(self.parameters(), 1e-3)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        def both() -> Any:
            loss = optimizer_closure()
            self.clip()
            return loss

        bare = optimizer.optimizer
        if self.closure:
            bare.step(closure=both)
        else:
            both()
            bare.step()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if not self.automatic_optimization:
            optimizer: Any = self.optimizers(use_pl_optimizer=False)
            optimizer.zero_grad()
            loss.backward()
            self.clip()
            optimizer.step()
        return loss


@mode(
    "Lightning, bare optimizers in `optimizer_step` or a manual loop, `loss.backward()`",
    "a record a step; gradients before one's own clip",
)
def by_hand(folder: Path) -> None:
    for manual, closure in ((False, False), (False, True), (True, False)):
        module = ByHand(manual, closure)
        _, found = watched(module, batches(), folder / f"{manual}{closure}", **ONE_PASS)
        assert [r.step for r in found] == [0, 1, 2, 3]
        for record, norm, loss in zip(found, module.norms, module.seen, strict=True):
            close(record.readings["optim/grad_norm"], norm)
            close(record.readings["train/loss"], loss)


class Fused(Module):
    """Has an optimizer that divides by the loss's scale inside its step."""

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-2, fused=True)

    def on_after_backward(self) -> None:
        self.norms = [*getattr(self, "norms", []), grad_norm(self) / 1024]


@mode("Lightning, fp16 with a loss scaler, fused optimizer", "gradients in their true scale; nothing clipped")
def fused(folder: Path) -> None:
    module = Fused()
    _, found = watched(module, batches(), folder / "run", plugins=[fp16()])
    for record, norm in zip(found, module.norms, strict=True):
        close(record.readings["optim/grad_norm"], norm)
        close(record.readings.get("optim/clip_factor", 1.0), 1.0)


class Silent(Module):
    """Returns no loss, and logs it at every second batch, or logs two."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.names = names

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        loss = super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        for name in self.names if batch_idx % 2 == 0 else ():
            self.log(name, loss * (2 if name == "other/loss" else 1), on_step=True, on_epoch=True)


@mode(
    "Lightning, manual optimization whose `training_step` returns no loss",
    "what is logged as `loss` or `train_loss` at that batch; else none, and `coverage()` says so",
)
def silent(folder: Path) -> None:
    for n, (names, is_taken) in enumerate(
        [(("train_loss",), True), (("train/loss", "other/loss"), True), (("g_loss", "d_loss"), False)]
    ):
        module = Silent(*names)
        monitor, found = watched(module, batches(), folder / str(n), **ONE_PASS)
        losses = [r.readings.get("train/loss") for r in found]
        told = [row.dark for row in monitor.coverage() if "no loss is recorded" in row.dark]
        if is_taken:
            for at in (0, 2):
                close(losses[at] or 0.0, module.seen[at])
            assert losses[1::2] == [None, None]
            assert not told
        else:
            assert losses == [None] * 4
            assert len(told) == 1
