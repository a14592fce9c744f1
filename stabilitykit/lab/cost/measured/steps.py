"""Build what is measured of our own models: a training step, the reading of a prompt, one token more."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor
from torch.optim import Optimizer

from stabilitykit.lab.cost.device import measuring_device
from stabilitykit.lab.cost.measured.norm_kernels import use_norm_kernels
from stabilitykit.lab.cost.measured.own import own_namer
from stabilitykit.lab.cost.measured.rounds import Step
from stabilitykit.lab.cost.measured.variant import Variant
from stabilitykit.lab.cost.predicted.optimizer import OptimizerName
from stabilitykit.lab.cost.predicted.prediction import predict
from stabilitykit.lab.cost.workload import Workload
from stabilitykit.lab.model.cache import KVCache
from stabilitykit.lab.model.transformer import Transformer
from stabilitykit.lab.training.config import OptimizerConfig
from stabilitykit.lab.training.loss import next_token_losses
from stabilitykit.lab.training.optimizers import build_optimizer
from stabilitykit.live.loop import LoopMonitor, watch

_RATE = 1e-4
"""Learning rate: the same batch again and again shall not blow up."""


def own_step(variant: Variant, workload: Workload, optimizer: OptimizerName, opened: ExitStack) -> Step:
    """Return a step of one of our models, ready to run; what it needs is allocated here.

    Args:
        variant: The model, by which kernels, and whether it is watched.
        workload: What it is asked to do.
        optimizer: What steps, in training.
        opened: Closes the monitor, where there is one.
    """
    device = measuring_device()
    model = Transformer(variant.config).to(device, getattr(torch, workload.dtype))
    use_norm_kernels(model, variant.norms)
    namer = own_namer({each.name for each in predict(variant.config, workload, optimizer).operations})
    tokens = _tokens(variant.config.vocab_size, workload, device)
    if workload.mode == "train":
        return Step(model, _training(model, tokens, optimizer, variant.watched, opened), namer)
    model.eval()
    if workload.mode == "prefill":
        return Step(model, _prefill(model, tokens[:, 1:].contiguous()), namer)
    dtype = next(model.parameters()).dtype
    cache = KVCache(variant.config, workload.batch, workload.length, dtype, device)
    return Step(model, _decoding(model, tokens[:, -1:].contiguous(), cache), namer)


def _tokens(vocab_size: int, workload: Workload, device: torch.device) -> Tensor:
    """Return random windows of one token more than the model reads."""
    generator = torch.Generator().manual_seed(0)
    shape = (workload.batch, workload.length + 1)
    return torch.randint(vocab_size, shape, generator=generator).to(device)


def _training(
    model: Transformer, windows: Tensor, kind: OptimizerName, watched: bool, opened: ExitStack
) -> Callable[[], None]:
    optimizer = build_optimizer(model, OptimizerConfig(kind=kind, lr=_RATE))
    monitor = _monitor(model, optimizer, opened) if watched else None
    # Cut here: slicing is not the model's.
    tokens, targets = windows[:, :-1].contiguous(), windows[:, 1:].flatten()
    z_loss = model.config.head.z_loss

    def step() -> None:
        optimizer.zero_grad()
        loss = next_token_losses(model(tokens).flatten(0, 1), targets, z_loss)["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if monitor is not None:
            monitor.step(loss.detach())

    return step


def _monitor(model: Transformer, optimizer: Optimizer, opened: ExitStack) -> LoopMonitor:
    folder = opened.enter_context(tempfile.TemporaryDirectory())
    return opened.enter_context(watch(model, optimizer, f"{folder}/run"))


def _prefill(model: Transformer, tokens: Tensor) -> Callable[[], None]:
    def step() -> None:
        with torch.no_grad():
            model(tokens)

    return step


def _decoding(model: Transformer, tokens: Tensor, cache: KVCache) -> Callable[[], None]:
    def step() -> None:
        # Whatever the cache holds, reading it takes the same time.
        cache.length = cache.capacity - 1
        with torch.no_grad():
            model(tokens, cache)

    return step
