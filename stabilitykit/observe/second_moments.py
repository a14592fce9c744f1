"""Adam's second moments as an optimizer keeps them, found once and read at every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam, AdamW, NAdam, RAdam

from stabilitykit.observe.steppers import Stepper
from stabilitykit.stats import KeptViews, Sampler, as_real, local

_TINY = torch.finfo(torch.float32).tiny

_KNOWN = (Adam, AdamW, NAdam, RAdam)
"""Optimizers of which it is known what they keep; a class made from one may keep something else."""

_TESTED_STEPS = 4
"""Steps at which what others keep is tested."""

_ROUNDING = 1.05
"""How much a second moment of 16 bits may be below what it must be."""

Mask = NDArray[np.bool_]
"""One truth value a parameter."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Which parameters have second moments, and what belongs to them."""

    key: tuple[Any, ...]
    """What this is valid for."""
    has: Mask
    hides: Mask
    """Which parameters have second moments that cannot be read."""
    states: tuple[tuple[int, Mapping[str, Any], str], ...]
    """Place among the parameters, state, and the name of the moment in it."""
    kept: tuple[tuple[Mapping[Any, Any], nn.Parameter, Mapping[str, Any]], ...]
    """The same states, where they stand: optimizer's state, parameter, state of the parameter."""
    beta2: tuple[float, ...]
    constants: tuple[Tensor, Tensor]
    """β2 and ε² on the device."""
    place_of_row: Tensor
    """Where each row of the sample finds its floor; the last place is for rows without a moment."""


class SecondMoments:
    """Reads the second moments of some parameters out of their optimizer's state.

    Quantised moments (subclasses of Tensor) are left out, and so are settings that are tensors, since
    reading those would read the device. What an optimizer of another library keeps under the same name may
    be something else: an average of squares is at least (1 − β2)g², which is tested at the first steps.

    Args:
        stepper: The optimizer.
        parameters: Its parameters, as the sampler's plan orders them.
        sampler: Takes the sample.
    """

    def __init__(self, stepper: Stepper, parameters: Sequence[nn.Parameter], sampler: Sampler) -> None:
        self._stepper = stepper
        self._parameters = parameters
        self._sampler = sampler
        self._views = KeptViews(sampler)
        self._one = torch.ones(1, device=sampler.device)
        self._found: _Found | None = None
        self._is_known = any(type(each) in _KNOWN for each in stepper.members)
        self._n_tested = 0
        self._foreign = torch.zeros(len(parameters), device=sampler.device)
        self._tensor_of_row = torch.from_numpy(sampler.plan.tensor_of_row).to(sampler.device)

    def find(self, has_gradient: Mask) -> _Found:
        """Return which parameters have second moments that this step has used."""
        states = self._stepper.states
        constants = tuple(_constants(group) for group in self._stepper.inner_groups)
        key = (*((id(state), len(state)) for state in states), has_gradient.tobytes(), constants)
        found = self._found
        if found is None or found.key != key or any(at.get(p) is not kept for at, p, kept in found.kept):
            self._found = found = self._look(key, has_gradient)
        return found

    def _state(self, parameter: nn.Parameter) -> tuple[Mapping[Any, Any], Mapping[str, Any]]:
        """Return what is kept of a parameter, and where, by the innermost that keeps second moments of it."""
        found = [(state, state[parameter]) for state in self._stepper.states if parameter in state]
        return next((each for each in found if _name(each[1])), ({}, {}))

    def test(self, found: _Found, scaled: Tensor) -> None:
        """Find out of which parameters what is kept cannot be a second moment.

        Args:
            found: What was found.
            scaled: g/√v of the sample.
        """
        if self._is_known or self._n_tested >= _TESTED_STEPS:
            return
        self._n_tested += 1
        one_less = torch.cat([1.0 - found.constants[0], torch.zeros_like(self._one)])
        share = scaled.square().amax(-1) * one_less.index_select(0, found.place_of_row)
        is_too_small = torch.where(share > _ROUNDING, torch.nan, 0.0).to(self._foreign)
        self._foreign.index_add_(0, self._tensor_of_row, is_too_small)

    def sample(self, found: _Found) -> list[Tensor]:
        """Return what joins to the sample of the moments."""
        moments: list[Tensor | None] = [None] * len(self._parameters)
        for place, state, name in found.states:
            moments[place] = as_real(local(state[name]))
        return self._views.of(moments)

    def steps(self, found: _Found) -> Tensor:
        """Return Adam's counts of steps, one a parameter with moments; some keep them as Python numbers."""
        steps = [state["step"] for _, state, _ in found.states]
        if all(isinstance(step, Tensor) for step in steps):
            return torch.stack([step.reshape(()) for step in steps]).float()
        return torch.tensor([float(step) for step in steps])

    def tested(self, found: _Found, steps: Tensor) -> Tensor:
        """Return the counts of steps, NaN where what is kept was found to be no second moment."""
        if self._is_known:
            return steps
        return steps.to(self._foreign) + self._foreign[torch.from_numpy(found.has).to(self._foreign.device)]

    def floor(self, found: _Found, steps: Tensor) -> Tensor:
        """Return ε²(1 − β2ᵗ) for each row of the sample: what v is held above for v̂ ≥ ε²."""
        beta2, eps2 = found.constants
        floor = torch.pow(beta2, steps.to(beta2.device)).neg_().add_(1.0).mul_(eps2).clamp_min_(_TINY)
        return torch.cat([floor, self._one]).index_select(0, found.place_of_row).to(self._sampler.dtype)

    def _look(self, key: tuple[Any, ...], has_gradient: Mask) -> _Found:
        constants = {
            id(p): pair
            for group in self._stepper.inner_groups
            if (pair := _constants(group)) is not None
            for p in group["params"]
        }
        plan, on = self._sampler.plan, self._sampler.device
        has, hides = np.zeros((2, len(self._parameters)), dtype=bool)
        states, holders, kept = [], [], []
        for place in np.flatnonzero(has_gradient).tolist():
            parameter = self._parameters[place]
            holder, state = self._state(parameter)
            name = _readable_moment(state, plan.sizes[place])
            hides[place] = bool(_name(state)) and not name
            if name and id(parameter) in constants:
                has[place] = True
                states.append((place, state, name))
                holders.append((holder, parameter, state))
                kept.append(constants[id(parameter)])
        places = np.where(has, np.cumsum(has) - 1, len(kept))[plan.tensor_of_row]
        return _Found(
            key=key,
            has=has,
            hides=hides,
            states=tuple(states),
            kept=tuple(holders),
            beta2=tuple(beta2 for beta2, _ in kept),
            constants=(
                torch.tensor([beta2 for beta2, _ in kept], device=on),
                torch.tensor([eps * eps for _, eps in kept], device=on),
            ),
            place_of_row=torch.from_numpy(places).to(on),
        )


def _name(state: Mapping[str, Any]) -> str:
    """Return under which name a state holds the moment that Adam's step divides by, or nothing."""
    return next((name for name in ("max_exp_avg_sq", "exp_avg_sq") if name in state), "")


def _readable_moment(state: Mapping[str, Any], size: int) -> str:
    """Return the name of a moment that can be read, or nothing."""
    name = _name(state)
    moment = state.get(name)
    if not isinstance(moment, Tensor) or "step" not in state:
        return ""
    moment = as_real(local(moment))
    is_number = moment.is_floating_point() and moment.dtype.itemsize > 1
    return name if type(moment) is Tensor and is_number and moment.numel() == size else ""


def _constants(group: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return β2 and ε of a parameter group; None without them, or where that would read the device."""
    betas, eps = group.get("betas"), group.get("eps")
    # Of three, another one is the second moment's.
    beta2 = betas[1] if isinstance(betas, tuple | list) and len(betas) == 2 else None
    if isinstance(beta2, int | float) and isinstance(eps, int | float):
        return float(beta2), float(eps)
    return None
