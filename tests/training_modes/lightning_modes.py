"""Ways of training with Lightning."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
from foreign.models import BUILDERS
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stabilitykit import StabilityMonitor
from stabilitykit.afterwards.replay import replay

from .kit import (
    Module,
    agree,
    batches,
    close,
    fit,
    fp16,
    grad_norm,
    loader,
    mode,
    records,
    watched,
)


class Norms(L.Callback):
    """Notes the gradients' norm where Lightning has them unscaled and not clipped."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self.seen.append(grad_norm(module))


@mode(
    "Lightning, gradient accumulation",
    "activations, loss, gradients, updates equal to those of one big batch",
)
def accumulation(folder: Path) -> None:
    small = batches(count=6, size=2)
    pairs = zip(small[::2], small[1::2], strict=True)
    big = [{key: torch.cat([one[key], other[key]]) for key in one} for one, other in pairs]
    monitor, parts = watched(Module(), small, folder / "parts", steps=3, accumulate_grad_batches=2)
    _, whole = watched(Module(), big, folder / "whole", steps=3)
    assert [r.step for r in parts] == [0, 1, 2]
    for one, other in zip(parts, whole, strict=True):
        # Entropies and log Z are means over samples, which are other ones.
        agree(one, other, 2e-3, skip=("attn/", "optim/lr", "optim/rms_t", "output/"))
    assert monitor.host_reads == 3


@mode("Lightning, epoch that ends within an accumulation", "the short window is a step of its own")
def short_window(folder: Path) -> None:
    module = Module()
    _, found = watched(module, batches(count=5), folder / "run", steps=6, accumulate_grad_batches=2)
    assert [r.step for r in found] == list(range(6))
    close(found[2].readings["train/loss"], module.seen[4])
    close(found[0].readings["train/loss"], sum(module.seen[:2]) / 2)


def _checkpointed(reentrant: bool) -> Module:
    module = Module()
    for block in module.model.transformer["h"]:
        forward = block.forward
        block.forward = lambda x, forward=forward: checkpoint(forward, x, use_reentrant=reentrant)
    return module


@mode("activation checkpointing, inside blocks, both kinds", "sites and readings as without, counted once")
def checkpointing(folder: Path) -> None:
    plain, expected = watched(Module(), batches(), folder / "plain")
    for reentrant in (False, True):
        monitor, found = watched(_checkpointed(reentrant), batches(), folder / str(reentrant))
        assert [row.site for row in monitor.coverage()] == [row.site for row in plain.coverage()]
        assert max(row.fired for row in monitor.coverage()) == max(row.fired for row in plain.coverage())
        for one, other in zip(found, expected, strict=True):
            agree(one, other, 1e-5, skip=())


@mode(
    "activation checkpointing, `gradient_checkpointing_enable()`",
    "sites and readings as without, counted once",
)
def hf_checkpointing(folder: Path) -> None:
    data = batches("llama")
    plain, expected = watched(Module("llama"), data, folder / "plain")
    for reentrant in (False, True):
        module = Module("llama")
        module.model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        monitor, found = watched(module, data, folder / str(reentrant))
        assert [row.site for row in monitor.coverage()] == [row.site for row in plain.coverage()]
        for one, other in zip(found, expected, strict=True):
            agree(one, other, 1e-5, skip=())


@mode(
    "Lightning, bf16-mixed", "activations' root mean squares within 3 %; gradient norm that of the gradients"
)
def bf16(folder: Path) -> None:
    norms = Norms()
    monitor = StabilityMonitor(logdir=folder / "run")
    fit(Module(), loader(batches()), folder, monitor, norms, precision="bf16-mixed")
    found = records(folder / "run")
    _, expected = watched(Module(), batches(), folder / "plain")
    agree(found[1], expected[1], 0.03, skip=("attn/", "optim/", "train/", "grad/", "norm/", "act/max"))
    for record, norm in zip(found, norms.seen, strict=True):
        close(record.readings["optim/grad_norm"], norm)


@mode("Lightning, fp16 with a loss scaler", "gradients in their true scale; the scale is a reading")
def half(folder: Path) -> None:
    norms = Norms()
    monitor = StabilityMonitor(logdir=folder / "run")
    fit(Module(), loader(batches()), folder, monitor, norms, plugins=[fp16()])
    found = records(folder / "run")
    assert [r.readings["optim/skipped"] for r in found] == [0, 0, 0, 0]
    assert [r.readings["optim/loss_scale"] for r in found] == [1024] * 4
    for record, norm in zip(found, norms.seen, strict=True):
        close(record.readings["optim/grad_norm"], norm)
    assert max(norms.seen) < 100


class Overflowing(Module):
    """Has an infinite gradient at some steps, with a loss that is fine."""

    at: tuple[int, ...] = (1,)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if len(self.seen) - 1 in self.at:
            loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss


@mode(
    "Lightning, fp16, step skipped on overflow",
    "recorded with `optim/skipped` 1; no incident before 10 in a row",
)
def overflow(folder: Path) -> None:
    monitor, found = watched(Overflowing(), batches(), folder / "once", plugins=[fp16()])
    assert [r.readings["optim/skipped"] for r in found] == [0, 1, 0, 0]
    assert [r.readings["optim/loss_scale"] for r in found] == [1024, 1024, 512, 512]
    assert not monitor.incidents
    module = Overflowing()
    module.at = tuple(range(12))
    monitor, _ = watched(module, batches(), folder / "always", steps=12, plugins=[fp16()])
    assert [(i.kind, i.start) for i in monitor.incidents] == [("nonfinite", 9)]
    assert repr(replay(folder / "always").verdict.incidents) == repr(monitor.incidents)


class Manual(Module):
    """Optimizes by hand: accumulates two batches, clips."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.norms: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        optimizer: Any = self.optimizers()
        loss = self.loss(batch)
        self.manual_backward(loss / 2)
        if batch_idx % 2:
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            scale = scaler.get_scale() if scaler else 1.0
            self.norms.append(grad_norm(self) / scale)
            torch.nn.utils.clip_grad_norm_(self.parameters(), 1e-3)
            optimizer.step()
            optimizer.zero_grad()
        return loss


@mode(
    "Lightning, manual optimization, own accumulation and clipping",
    "gradients before the clip, also under fp16",
)
def manual(folder: Path) -> None:
    for name, options in {"fp32": {}, "fp16": {"plugins": [fp16()]}}.items():
        module = Manual()
        _, found = watched(module, batches(), folder / name, steps=2, **options)
        assert [r.step for r in found] == [0, 1]
        for record, norm in zip(found, module.norms, strict=True):
            close(record.readings["optim/grad_norm"], norm)


class Adversaries(L.LightningModule):
    """Two models that train against each other, an optimizer each."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.critic = (BUILDERS["torch_encoder"](seed=s, dropout=0.0).model for s in (1, 2))
        self.norms: list[float] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        one, two = self.optimizers()  # type: ignore[misc]
        real = batch["x"]
        fake = self.generator(real.flip(1))
        loss = self.critic(fake.detach()).abs().mean() - self.critic(real).square().mean()
        self.manual_backward(loss)
        critic = grad_norm(self.critic)
        one.step()
        one.zero_grad()
        loss = -self.critic(fake).abs().mean()
        # It reaches the critic's parameters as well.
        self.manual_backward(loss)
        self.norms.append(math.hypot(critic, grad_norm(self.generator)))
        two.step()
        two.zero_grad()
        one.zero_grad()
        return loss

    def configure_optimizers(self) -> Any:
        return [
            torch.optim.AdamW(m.parameters(), lr=lr)
            for m, lr in ((self.critic, 2e-3), (self.generator, 1e-3))
        ]


@mode(
    "several optimizers that step in turn (GAN)",
    "one step a batch; each one's gradients as it used them; updates of all",
)
def adversaries(folder: Path) -> None:
    module = Adversaries()
    _, found = watched(module, batches("torch_encoder"), folder / "run", steps=8)
    assert [r.step for r in found] == [0, 1, 2, 3]
    assert {round(r.readings["optim/lr"], 6) for r in found[1:]} == {2e-3}
    for record, norm in list(zip(found, module.norms, strict=True))[1:]:
        close(record.readings["optim/grad_norm"], norm)
        groups = {tag for tag in record.tags if tag.startswith("optim/update_ratio/")}
        assert any("generator" in tag for tag in groups), groups
        assert any("critic" in tag for tag in groups), groups


class Split(Module):
    """Gives matrices to one optimizer and vectors to another, as Muon and AdamW are combined."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.manual_backward(loss)
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.step()
            optimizer.zero_grad()
        return loss

    def configure_optimizers(self) -> Any:
        matrices = [p for p in self.parameters() if p.dim() > 1]
        vectors = [p for p in self.parameters() if p.dim() <= 1]
        return [torch.optim.AdamW(matrices, lr=1e-2), torch.optim.AdamW(vectors, lr=1e-2)]


@mode("a block's parameters in two optimizers (Muon and AdamW)", "equal to one optimizer")
def split(folder: Path) -> None:
    _, found = watched(Split(), batches(), folder / "split", steps=8)
    _, expected = watched(Module(), batches(), folder / "one")
    assert len(found) == len(expected) == 4
    for one, other in list(zip(found, expected, strict=True))[1:]:
        assert len(set(one.tags)) == len(one.tags)
        agree(one, other, 1e-3, skip=("attn/", "optim/lr"))


@mode(
    "frozen modules, also in evaluation mode",
    "their activations and attention are seen; no gradients of theirs",
)
def frozen(folder: Path) -> None:
    module = Module()
    block = module.model.transformer["h"][0].requires_grad_(False).eval()
    _, found = watched(module, batches(), folder / "run")
    assert not block.training
    assert "act/rms/blocks.00.resid_post" in found[1].tags
    assert "attn/entropy/blocks.00" in found[1].tags
    assert "grad/norm/blocks.00" not in found[1].tags
    assert "grad/norm/blocks.01" in found[1].tags


@mode("tied weights", "one group, one gradient")
def tied(folder: Path) -> None:
    norms = Norms()
    monitor = StabilityMonitor(logdir=folder / "run")
    fit(Module("gpt2", dropout=0.0), loader(batches("gpt2")), folder, monitor, norms)
    for record, norm in zip(records(folder / "run"), norms.seen, strict=True):
        close(record.readings["optim/grad_norm"], norm)
    named = [row.site for row in monitor.coverage() if "grad/norm" in row.statistics]
    assert len(named) == len(set(named))


@mode("adapters (LoRA with peft)", "blocks found, gradients and updates of the adapters alone")
def adapters(folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    module = Module("llama", lr=1e-2)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    module.model = get_peft_model(module.model, config)
    monitor, found = watched(module, batches("llama"), folder / "run")
    assert {f"blocks.{n:02d}.resid_post" for n in range(3)} <= {row.site for row in monitor.coverage()}
    groups = {tag.rpartition("/")[2] for tag in found[1].tags if tag.startswith("grad/norm/")}
    assert groups == {"blocks.00", "blocks.01", "blocks.02"}
    assert all(found[1].readings[f"optim/update_ratio/{group}"] > 0 for group in groups)
    assert "act/rms/blocks.02.mlp_out" in found[1].tags
