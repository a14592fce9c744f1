"""The optimizer of a configuration."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Muon, Optimizer

from stabilitykit.lab.model.transformer import Transformer
from stabilitykit.lab.model.unit_weights import normalise_weights
from stabilitykit.lab.training.config import OptimizerConfig, check_optimizer
from stabilitykit.lab.training.groups import Group, block_matrices, parameter_groups


def build_optimizer(model: Transformer, config: OptimizerConfig) -> Optimizer:
    """Return the configured optimizer of a model's parameters, in the groups of ``parameter_groups``.

    With the model's ``unit_weights`` each step ends with ``normalise_weights``.
    Muon is torch's, which orthogonalises in bfloat16: on most CPUs that is slow.

    Args:
        model: The model.
        config: Which optimizer, and its values.

    Raises:
        ConfigError: The model's learning rates are not made for it.
    """
    check_optimizer(config, model.config)
    optimizer = _optimizer(model, config)
    if model.config.unit_weights:
        optimizer.register_step_post_hook(lambda *_: normalise_weights(model))
    return optimizer


class JoinedOptimizer(Optimizer):
    """Steps several optimizers as one: their groups one after another, one state, one step."""

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        """Take over the optimizers.

        Args:
            optimizers: Optimizers of different parameters.
        """
        self._optimizers = optimizers
        super().__init__([group for each in optimizers for group in each.param_groups], {})
        self.state = defaultdict(dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Take one step with each.

        Args:
            closure: Computes the loss and the gradients anew; its loss is returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self._optimizers:
            optimizer.step()
        return loss

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Show the optimizers the groups and the state of the whole: schedules and loading change those."""
        first = 0
        for optimizer in self._optimizers:
            last = first + len(optimizer.param_groups)
            optimizer.state, optimizer.param_groups = self.state, self.param_groups[first:last]
            first = last


def _optimizer(model: Transformer, config: OptimizerConfig) -> Optimizer:
    groups = parameter_groups(model, config.lr, config.weight_decay)
    if config.kind == "sgd":
        return SGD(groups, lr=config.lr, momentum=config.resolved_momentum)
    if config.kind == "adamw":
        return _adamw(groups, config)
    matrices = {id(matrix) for matrix in block_matrices(model)}
    inside, outside = _parted(groups, matrices)
    # So scaled, updates have the size of AdamW's, and one learning rate fits both (Liu et al. 2502.16982).
    muon = Muon(inside, lr=config.lr, momentum=config.resolved_momentum, adjust_lr_fn="match_rms_adamw")
    return JoinedOptimizer([_adamw(outside, config), muon])


def _adamw(groups: list[Group], config: OptimizerConfig) -> AdamW:
    return AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)


def _parted(groups: list[Group], chosen: set[int]) -> tuple[list[Group], list[Group]]:
    """Return the groups of the chosen parameters and those of the others, without empty ones."""
    parts: tuple[list[Group], list[Group]] = ([], [])
    for group in groups:
        for part, wanted in zip(parts, (True, False), strict=True):
            parameters = [each for each in group["params"] if (id(each) in chosen) == wanted]
            if parameters:
                part.append({**group, "params": parameters})
    return parts
