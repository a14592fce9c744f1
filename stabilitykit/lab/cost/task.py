"""A step of a model that is not ours: forward, and in training a loss, backward and the optimizer's step."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from stabilitykit.errors import ConfigError

Loss = Callable[[Any], Tensor]
"""Gives a loss for what a model returns."""
TaskMode = Literal["train", "forward"]

ROOT, CRITERION = "module", "criterion"
"""Paths of the model and of its loss in what runs."""


class _Criterion(nn.Module):
    """A loss as a module, so that it is a place like any other."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, output: Any) -> Tensor:
        return self.loss(output)


class _Whole(nn.Module):
    """A model on its batch, and its loss behind it."""

    def __init__(self, module: nn.Module, batch: Any, loss: Loss | None) -> None:
        super().__init__()
        self.module = module
        self.criterion = None if loss is None else _Criterion(loss)
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        if isinstance(batch, Mapping):
            self._kwargs = dict(batch)
        else:
            self._args = tuple(batch) if isinstance(batch, tuple | list) else (batch,)

    def forward(self) -> Any:
        output = self.module(*self._args, **self._kwargs)
        return output if self.criterion is None else self.criterion(output)


class Task:
    """One step of a model on one batch, to be run again and again."""

    def __init__(
        self,
        module: nn.Module,
        batch: Any,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        mode: TaskMode = "train",
    ) -> None:
        """Look at what is to be run; nothing runs yet.

        Args:
            module: The model.
            batch: A tensor, a tuple or list of arguments, or a mapping of named ones.
            loss: Gives the loss for what the model returns; by default its ``loss`` where it has one, else
                the mean of its first tensor of floats.
            optimizer: What steps, in training.
            mode: ``train``, or ``forward`` without gradients.

        Raises:
            ConfigError: The mode is not known, or has no use for a loss or an optimizer.
        """
        if mode not in ("train", "forward"):
            raise ConfigError(f"mode: got {mode!r}; accepted: train, forward")
        for name, given in (("loss", loss), ("optimizer", optimizer)):
            if mode == "forward" and given is not None:
                raise ConfigError(f"{name}: got {type(given).__name__}; not in mode forward")
        self.module, self.batch, self.optimizer, self.mode = module, batch, optimizer, mode
        self.whole = _Whole(module, batch, (loss or _own_loss) if mode == "train" else None)

    def run(self) -> None:
        """Run one step."""
        if self.mode == "forward":
            self.forward()
            return
        self.forget()
        loss = self.forward()
        self.backward(loss)
        if self.optimizer is not None:
            self.optimizer.step()

    def forward(self) -> Any:
        """Run the model, in training up to its loss, and return that.

        Raises:
            ConfigError: The loss depends on nothing that learns.
        """
        try:
            with torch.set_grad_enabled(self.mode == "train"):
                found = self.whole()
        finally:
            # Around a step autocast's copies of weights would go with it.
            torch.clear_autocast_cache()
        if self.mode == "train" and found.grad_fn is None:
            raise ConfigError("loss: depends on no parameter that learns; mode forward needs none")
        return found

    def backward(self, loss: Tensor) -> None:
        """Run backward, outside of any autocast, as a training loop does.

        Args:
            loss: What forward returned.
        """
        with ExitStack() as opened:
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    opened.enter_context(torch.autocast(kind, enabled=False))
            # By its edge: a tensor would be handed to the mode that marks places, and that be off meanwhile.
            torch.autograd.backward([get_gradient_edge(loss)])

    def forget(self) -> None:
        """Drop all gradients."""
        for each in self._learning():
            each.grad = None

    @contextmanager
    def as_found(self) -> Iterator[None]:
        """Leave gradients and the states of random numbers as they are; without an optimizer buffers, too."""
        gradients = [(each, each.grad) for each in self._learning()]
        buffers = [(each, dict(each._buffers)) for each in self.module.modules()]
        copies = {} if self.optimizer else _copied(self.module)
        devices = sorted({each.get_device() for each in self.module.parameters() if each.is_cuda})
        drawn, drawn_by_numpy = random.getstate(), np.random.get_state()
        try:
            with torch.random.fork_rng(devices):
                yield
        finally:
            random.setstate(drawn)
            np.random.set_state(drawn_by_numpy)
            for each, gradient in gradients:
                each.grad = gradient
            if not self.optimizer:
                _restore(buffers, copies)

    def _learning(self) -> list[Tensor]:
        """Return everything that backward gives a gradient."""
        held: list[Tensor] = [*self.whole.parameters()]
        if self.optimizer is not None:
            held += [each for group in self.optimizer.param_groups for each in group["params"]]
        held += [each for each in tree_leaves(self.batch) if isinstance(each, Tensor) and each.is_leaf]
        return held


def _copied(module: nn.Module) -> dict[int, Tensor]:
    return {id(each): each.clone() for each in module.buffers() if not each.is_meta}


def _restore(buffers: list[tuple[nn.Module, dict[str, Tensor | None]]], copies: Mapping[int, Tensor]) -> None:
    for module, held in buffers:
        module._buffers.clear()
        module._buffers.update(held)
        for each in held.values():
            copy = None if each is None else copies.get(id(each))
            # By value: batch norm does not raise the version of what it keeps.
            if each is not None and copy is not None and not torch.equal(each, copy):
                with torch.no_grad():
                    each.copy_(copy)


def _own_loss(output: Any) -> Tensor:
    """Return a model's own loss, or the mean of the first floats that it returns.

    Raises:
        ConfigError: It returns none.
    """
    own = getattr(output, "loss", None)
    if isinstance(own, Tensor):
        return own.mean() if own.dim() else own
    for each in tree_leaves(output):
        if isinstance(each, Tensor) and each.is_floating_point():
            return each.mean()
    raise ConfigError(f"loss: {type(output).__name__} holds no tensor of floats; give a function of it")
