"""Adam's second moments as an optimizer keeps them, found once and read at every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from stabilitykit.stats import KeptViews, Sampler, local

_TINY = torch.finfo(torch.float32).tiny

Mask = NDArray[np.bool_]
"""One truth value a parameter."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Which parameters have second moments, and what belongs to them."""

    key: tuple[Any, ...]
    """What this is valid for."""
    has: Mask
    states: tuple[tuple[int, Mapping[str, Any], str], ...]
    """Place among the parameters, state, and the name of the moment in it."""
    kept: tuple[tuple[nn.Parameter, Mapping[str, Any]], ...]
    """The same states by parameter."""
    beta2: tuple[float, ...]
    constants: tuple[Tensor, Tensor]
    """β2 and ε² on the device."""
    place_of_row: Tensor
    """Where each row of the sample finds its floor; the last place is for rows without a moment."""


class SecondMoments:
    """Reads the second moments of some parameters out of their optimizer's state.

    Quantised moments (subclasses of Tensor) are left out, and so are settings that are tensors, since
    reading those would read the device.

    Args:
        optimizer: The optimizer.
        parameters: Its parameters, as the sampler's plan orders them.
        sampler: Takes the sample.
    """

    def __init__(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter], sampler: Sampler) -> None:
        self._optimizer = optimizer
        self._parameters = parameters
        self._sampler = sampler
        self._views = KeptViews(sampler)
        self._one = torch.ones(1, device=sampler.device)
        self._found: _Found | None = None

    def find(self, has_gradient: Mask) -> _Found:
        """Return which parameters have second moments that this step has used."""
        groups = self._optimizer.param_groups
        state = self._optimizer.state
        key = (id(state), len(state), has_gradient.tobytes(), tuple(_constants(group) for group in groups))
        found = self._found
        if found is None or found.key != key or any(state.get(p) is not kept for p, kept in found.kept):
            self._found = found = self._look(key, has_gradient)
        return found

    def sample(self, found: _Found) -> list[Tensor]:
        """Return what joins to the sample of the moments."""
        moments: list[Tensor | None] = [None] * len(self._parameters)
        for place, state, name in found.states:
            moments[place] = local(state[name])
        return self._views.of(moments)

    def steps(self, found: _Found) -> Tensor:
        """Return Adam's counts of steps, one a parameter with moments; some keep them as Python numbers."""
        steps = [state["step"] for _, state, _ in found.states]
        if all(isinstance(step, Tensor) for step in steps):
            return torch.stack(steps).float()
        return torch.tensor([float(step) for step in steps])

    def floor(self, found: _Found, steps: Tensor) -> Tensor:
        """Return ε²(1 − β2ᵗ) for each row of the sample: what v is held above for v̂ ≥ ε²."""
        beta2, eps2 = found.constants
        floor = torch.pow(beta2, steps.to(beta2.device)).neg_().add_(1.0).mul_(eps2).clamp_min_(_TINY)
        return torch.cat([floor, self._one]).index_select(0, found.place_of_row).to(self._sampler.dtype)

    def _look(self, key: tuple[Any, ...], has_gradient: Mask) -> _Found:
        constants = {
            id(p): pair
            for group in self._optimizer.param_groups
            if (pair := _constants(group)) is not None
            for p in group["params"]
        }
        plan, on = self._sampler.plan, self._sampler.device
        has = np.zeros(len(self._parameters), dtype=bool)
        states, kept = [], []
        for place in np.flatnonzero(has_gradient).tolist():
            parameter = self._parameters[place]
            state = self._optimizer.state.get(parameter, {})
            name = _readable_moment(state, plan.sizes[place])
            if name and id(parameter) in constants:
                has[place] = True
                states.append((place, state, name))
                kept.append(constants[id(parameter)])
        places = np.where(has, np.cumsum(has) - 1, len(kept))[plan.tensor_of_row]
        return _Found(
            key=key,
            has=has,
            states=tuple(states),
            kept=tuple((self._parameters[place], state) for place, state, _ in states),
            beta2=tuple(beta2 for beta2, _ in kept),
            constants=(
                torch.tensor([beta2 for beta2, _ in kept], device=on),
                torch.tensor([eps * eps for _, eps in kept], device=on),
            ),
            place_of_row=torch.from_numpy(places).to(on),
        )


def _readable_moment(state: Mapping[str, Any], size: int) -> str:
    """Return under which name a state holds the moment that Adam's step divides by, or nothing."""
    name = "max_exp_avg_sq" if "max_exp_avg_sq" in state else "exp_avg_sq"
    moment = state.get(name)
    if not isinstance(moment, Tensor) or "step" not in state:
        return ""
    moment = local(moment)
    readable = type(moment) is Tensor and moment.is_floating_point() and moment.numel() == size
    return name if readable else ""


def _constants(group: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return β2 and ε of a parameter group; None without them, or where that would read the device."""
    betas, eps = group.get("betas"), group.get("eps")
    beta2 = betas[1] if isinstance(betas, tuple | list) and len(betas) > 1 else None
    if isinstance(beta2, int | float) and isinstance(eps, int | float):
        return float(beta2), float(eps)
    return None
