"""Taps on gradients and updates: one norm a group of parameters, on the device, no host read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from stabilitykit.observe.sharding import local
from stabilitykit.stats import FlatViews, flat, joined, norm, scaled_gradient_square

Groups = Mapping[str, Sequence[nn.Parameter]]
"""Trainable parameters by group, in forward order."""


@dataclass(slots=True)
class GroupVector:
    """One number a group, waiting on the device."""

    groups: list[str] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Elements behind each number."""

    def add(self, group: str, value: Tensor, size: int) -> None:
        """Append a group's number."""
        self.groups.append(group)
        self.values.append(value)
        self.sizes.append(size)


class Scratch:
    """Memory for two copies of the largest group, made once."""

    def __init__(self, groups: Groups) -> None:
        sizes = [sum(local(p).numel() for p in parameters) for parameters in groups.values()]
        first = next((p for parameters in groups.values() for p in parameters), torch.empty(0))
        dtype = torch.promote_types(first.dtype, torch.float32)
        room = torch.empty(2, max(sizes, default=0), dtype=dtype, device=first.device)
        self.one, self.two = room.unbind()


def gradient_norms(groups: Groups, scratch: Scratch) -> GroupVector:
    """Return the 2-norm of the gradients of every group that has some."""
    found = GroupVector()
    for group, parameters in groups.items():
        gradients = [local(p.grad) for p in parameters if p.grad is not None]
        if gradients:
            joint = joined(flat(gradients), scratch.one)
            found.add(group, norm(joint), joint.numel())
    return found


@dataclass(slots=True)
class OptimizerStep:
    """What an optimizer's step left on the device."""

    lr: float
    updates: GroupVector = field(default_factory=GroupVector)
    weights: GroupVector = field(default_factory=GroupVector)
    gains: GroupVector = field(default_factory=GroupVector)
    scaled_gradients: GroupVector = field(default_factory=GroupVector)
    correction: Tensor | None = None
    """1 − β2ᵗ, the bias correction of the second moments."""


class OptimizerTap:
    """What is attached to an optimizer: sees the weights before and after its step.

    The update is the difference of two snapshots, so it is exact for any optimizer; it holds one copy
    of the weights, and two of the largest group.

    Args:
        optimizer: The optimizer.
        groups: Parameters by group; those of other optimizers are left out.
        gains: Gain parameter by norm.
        scratch: Memory for the largest group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        groups: Groups,
        gains: Mapping[str, nn.Parameter],
        scratch: Scratch,
    ) -> None:
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        mine = {name: [p for p in parameters if id(p) in owned] for name, parameters in groups.items()}
        self._optimizer = optimizer
        self._groups = {name: parameters for name, parameters in mine.items() if parameters}
        self._gains = {name: p for name, p in gains.items() if id(p) in owned}
        self._scratch = scratch
        self._weights = {name: FlatViews() for name in self._groups}
        self._moments = {name: FlatViews() for name in self._groups}
        self._before: dict[str, Tensor] = {}
        self._has_before = False
        self.armed = False
        self.step: OptimizerStep | None = None

    @property
    def has_second_moments(self) -> bool:
        """Whether the optimizer keeps Adam's second moments."""
        return any("exp_avg_sq" in state for state in self._optimizer.state.values())

    def attach(self) -> list[RemovableHandle]:
        """Hook the optimizer; the handles remove the tap."""
        return [
            self._optimizer.register_step_pre_hook(self._before_step),
            self._optimizer.register_step_post_hook(self._after_step),
        ]

    def reset(self) -> None:
        """Forget the step."""
        self.step = None

    @torch.no_grad()
    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self.armed:
            return
        for name, parameters in self._groups.items():
            if name not in self._before:
                size = sum(local(p).numel() for p in parameters)
                self._before[name] = torch.empty_like(self._scratch.one[:size])
            joined(self._weights[name].of([local(p) for p in parameters]), self._before[name])
        self._has_before = True

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self.armed or not self._has_before:
            return
        self._has_before = False
        step = OptimizerStep(lr=float(optimizer.param_groups[0]["lr"]))
        for name, parameters in self._groups.items():
            after = joined(self._weights[name].of([local(p) for p in parameters]), self._scratch.one)
            step.weights.add(name, norm(after), after.numel())
            step.updates.add(name, norm(after.sub_(self._before[name])), after.numel())
            self._scaled_gradient(step, name, parameters)
        if self._gains:
            gains = [local(p) for p in self._gains.values()]
            for name, gain, value in zip(self._gains, gains, torch._foreach_norm(gains), strict=True):
                step.gains.add(name, value, gain.numel())
        self.step = step

    def _scaled_gradient(self, step: OptimizerStep, name: str, parameters: Sequence[nn.Parameter]) -> None:
        """Read g/√v of a group, where the optimizer keeps second moments of it."""
        state = self._optimizer.state
        seen = [p for p in parameters if p.grad is not None and "exp_avg_sq" in state.get(p, {})]
        if not seen:
            return
        settings = self._optimizer.param_groups[0]
        gradient = joined(flat([local(p.grad) for p in seen if p.grad is not None]), self._scratch.one)
        moments = self._moments[name].of([local(state[p]["exp_avg_sq"]) for p in seen])
        moment = joined(moments, self._scratch.two)
        size = gradient.numel()
        step.scaled_gradients.add(name, scaled_gradient_square(gradient, moment, settings["eps"]), size)
        if step.correction is None:
            steps_taken = torch.as_tensor(state[seen[0]]["step"])
            step.correction = 1.0 - torch.as_tensor(settings["betas"][1]) ** steps_taken
