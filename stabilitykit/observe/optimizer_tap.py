"""Taps on gradients and updates: per-parameter norms on the device, no host read."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from stabilitykit.stats import norms, scaled_gradient_norms, update_norms

Vector = tuple[list[str], Tensor]
"""Parameter names, and one number for each on the device."""


def gradient_norms(parameters: Mapping[str, nn.Parameter]) -> Vector | None:
    """Return the 2-norm of every gradient there is, or None where there is none."""
    found = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    return (list(found), norms(list(found.values()))) if found else None


class OptimizerTap:
    """What is attached to an optimizer: sees the weights before and after its step.

    The update is the difference of two snapshots, so it is exact for any optimizer; it holds one copy
    of the weights.
    """

    def __init__(self, optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]) -> None:
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self._optimizer = optimizer
        self._parameters = {name: p for name, p in parameters.items() if id(p) in owned}
        self._before: list[Tensor] = []
        self.armed = False
        self.updates: Vector | None = None
        self.weights: Vector | None = None
        self.scaled_gradients: Vector | None = None
        self.second_moment_weight: Tensor | None = None
        """1 − β2ᵗ, the bias correction of the second moments."""
        self.lr: float = float("nan")

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
        self.updates = self.weights = self.scaled_gradients = self.second_moment_weight = None

    @torch.no_grad()
    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self.armed:
            return
        weights = self._weights()
        if not self._before:
            self._before = [torch.empty_like(w) for w in weights]
        torch._foreach_copy_(self._before, weights)

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self.armed or not self._before:
            return
        names, weights = list(self._parameters), self._weights()
        self.updates = names, update_norms(self._before, weights)
        self.weights = names, norms(weights)
        lr = optimizer.param_groups[0]["lr"]
        self.lr = float(lr)
        self._read_second_moments()

    def _read_second_moments(self) -> None:
        """Read g/√v of every parameter whose second moment the optimizer keeps."""
        state = self._optimizer.state
        found = {
            name: p
            for name, p in self._parameters.items()
            if p.grad is not None and "exp_avg_sq" in state.get(p, {})
        }
        if not found:
            return
        group = self._optimizer.param_groups[0]
        moments = [state[p]["exp_avg_sq"] for p in found.values()]
        gradients = [p.grad for p in found.values() if p.grad is not None]
        self.scaled_gradients = list(found), scaled_gradient_norms(gradients, moments, group["eps"])
        step = state[next(iter(found.values()))]["step"]
        self.second_moment_weight = 1.0 - torch.as_tensor(group["betas"][1]) ** torch.as_tensor(step)

    def _weights(self) -> list[Tensor]:
        return [p.detach() for p in self._parameters.values()]
