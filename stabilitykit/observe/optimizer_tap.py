"""Taps on an optimizer: what its step did to a sample of the weights, on the device, no host read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from stabilitykit.observe.schema import GRADIENT, PREVIOUS, SCALED, UPDATE, WEIGHT, StepPart
from stabilitykit.observe.second_moments import Mask, SecondMoments
from stabilitykit.observe.site import Coverage
from stabilitykit.observe.watched import Watched
from stabilitykit.stats import KeptViews, SamplePlan, Sampler, local, plan_sample, scale_by_second_moment


@dataclass(frozen=True, slots=True)
class OptimizerStep:
    """What an optimizer's step left on the device, and what is known of it on the host."""

    part: StepPart
    """Which parameters, and which elements of them."""
    lr: float | Tensor | None
    """Of the first parameter group, where there is one."""
    norms: Tensor
    """2-norm of each row of the sample: kinds ``UPDATE`` to ``SCALED`` × rows."""
    products: Tensor
    """Dot product of this and the previous gradient, a row each."""
    steps: Tensor
    """Adam's count of steps, one for each parameter that has second moments."""
    beta2: tuple[float, ...]
    """Adam's β2 of each such parameter."""
    has_gradient: Mask
    has_previous: Mask
    has_moment: Mask


class OptimizerTap:
    """What is attached to an optimizer: sees a sample of the weights before and after its step.

    The update is the difference of two snapshots, so it means the same for any optimizer. Both are of a
    fixed sample (``stats.plan_sample``), which holds less than a hundredth of a large model. The one after
    a step serves as the one before the next where nothing has written to the weights between.

    Args:
        optimizer: The optimizer.
        watched: Parameters by group; those of other optimizers are left out.
        number: Which optimizer it is.
    """

    def __init__(self, optimizer: Optimizer, watched: Watched, number: int = 0) -> None:
        self._optimizer = optimizer
        self._watched = watched.among([p for group in optimizer.param_groups for p in group["params"]])
        self._number = number
        self._rows = torch.empty(0)
        n_parameters = len(self._watched.parameters)
        self._part = self._part_of(SamplePlan((0,) * n_parameters, (1,) * n_parameters))
        self._is_prepared = self._is_sharded = self._fresh = self._has_before = False
        self._previous: Mask = np.zeros(n_parameters, dtype=bool)
        self._resumed: dict[str, Any] | None = None
        self.dark = ""
        """Why the tap is off; empty while it is not."""
        self.armed = False
        self.step: OptimizerStep | None = None
        """What the newest step left, until it is read."""

    @property
    def is_on(self) -> bool:
        """Whether steps are seen at all."""
        return not self.dark and bool(self._watched.parameters)

    def coverage(self) -> list[Coverage]:
        """Return how the groups of this optimizer are watched, once it has taken a step."""
        read: tuple[str, ...] = ("optim/update_norm", "optim/update_ratio", "grad/cosine")
        if any("exp_avg_sq" in state for state in self._optimizer.state.values()):
            read = (*read, "optim/rms_t", "optim/staleness")
        plan, rows = self._part.sample, []
        here = " of this process's shards" if self._is_sharded else ""
        for place, group in enumerate(self._watched.groups):
            mine = self._watched.group_of == place
            size, looked_at = (int(np.array(n)[mine].sum()) for n in (plan.sizes, plan.counts))
            if mine.any():
                kind = "exact" if looked_at == size else "sampled"
                what = f"{looked_at:,} of {size:,} elements{here}" if self._is_prepared else "no step yet"
                rows.append(Coverage(group, kind, what, read, dark=self.dark))
        return rows

    def before_step(self) -> None:
        """Keep the weights as they are before the optimizer's step."""
        self._guarded(self._before_step)

    def after_step(self) -> None:
        """Read what the step did, and from what."""
        self._guarded(self._after_step)

    def reset(self) -> None:
        """Forget the step."""
        self.step = None

    def state_dict(self) -> dict[str, Any]:
        """Return the sample of the last gradient, which the next one is compared with.

        Of sharded parameters nothing: what every process takes up may be what the first one has kept.
        """
        if self._is_sharded or not self._previous.any():
            return self._resumed or {}
        return {"gradient": self._rows[PREVIOUS].clone(), "has": self._previous.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned, when the next step begins."""
        self._resumed = dict(state) or None

    def _guarded(self, part: Callable[[], None]) -> None:
        if not self.is_on:
            return
        try:
            with torch.no_grad():
                part()
        except Exception as error:  # Nothing in a monitor may end a training run.
            self.dark, self.step = f"{type(error).__name__}: {error}", None

    def _prepare(self) -> None:
        """Make room for the sample: at the first step, since parameters may be sharded until then."""
        self._is_sharded = any(local(p) is not p for p in self._watched.parameters)
        weights = self._here()
        plan = plan_sample([weight.shape for weight in weights])
        self._part = self._part_of(plan)
        self._sampler = Sampler(plan, weights[0])
        self._rows = self._sampler.room(SCALED + 1)
        self._before, self._scratch = self._sampler.room(), self._sampler.room()
        self._weights = KeptViews(self._sampler)
        self._moments = SecondMoments(self._optimizer, self._watched.parameters, self._sampler)
        self._is_prepared = True
        state, self._resumed = self._resumed, None
        if state and not self._is_sharded and state["gradient"].shape == self._rows[PREVIOUS].shape:
            self._rows[PREVIOUS].copy_(state["gradient"])
            self._previous = np.array(state["has"], dtype=bool)

    def _before_step(self) -> None:
        if not self.armed:
            # The next observed step must look anew: kernels may write where autograd does not see it.
            self._fresh = False
            return
        if not self._is_prepared:
            self._prepare()
        if self._fresh and self._weights.is_unwritten(self._here()):
            self._before.copy_(self._rows[WEIGHT])
        else:
            self._join(self._weights.of(self._here()), self._before)
        self._has_before = True

    def _after_step(self) -> None:
        if not self.armed or not self._has_before:
            return
        self._has_before = False
        rows = self._rows
        self._join(self._weights.of(self._here()), rows[WEIGHT])
        self._weights.mark()
        self._fresh = True
        torch.sub(rows[WEIGHT], self._before, out=rows[UPDATE])
        has_gradient = self._read_gradients()
        has_moment, steps, beta2 = self._read_moments(has_gradient)
        has_previous = has_gradient & self._previous
        products = torch.mul(rows[GRADIENT], rows[PREVIOUS], out=self._scratch).sum(-1)
        lr = self._optimizer.param_groups[0].get("lr")
        self.step = OptimizerStep(
            part=self._part,
            lr=lr.detach().reshape(()) if isinstance(lr, Tensor) else lr,
            norms=torch.linalg.vector_norm(rows, dim=-1),
            products=products,
            steps=steps,
            beta2=beta2,
            has_gradient=has_gradient,
            has_previous=has_previous,
            has_moment=has_moment,
        )
        rows[PREVIOUS].copy_(rows[GRADIENT])
        self._previous = has_gradient

    def _part_of(self, plan: SamplePlan) -> StepPart:
        return StepPart(self._number, tuple(self._watched.places.tolist()), plan)

    def _here(self) -> Sequence[Tensor]:
        """Return the weights, or of sharded ones the shards on this process."""
        return [local(p) for p in self._watched.parameters] if self._is_sharded else self._watched.parameters

    def _join(self, views: list[Tensor], out: Tensor) -> None:
        if views:
            torch.cat(views, out=out.view(-1))

    def _read_gradients(self) -> Mask:
        """Sample the gradients as the optimizer saw them; returns which parameters have one."""
        found = [_dense(p.grad) for p in self._watched.parameters]
        self._join(self._sampler.views(found), self._rows[GRADIENT])
        return np.array([gradient is not None for gradient in found])

    def _read_moments(self, has_gradient: Mask) -> tuple[Mask, Tensor, tuple[float, ...]]:
        """Sample g/√v̂ before bias correction; returns for which parameters, their steps and β2."""
        found = self._moments.find(has_gradient)
        if not found.states:
            return found.has, torch.empty(0), ()
        steps = self._moments.steps(found)
        self._join(self._moments.sample(found), self._rows[SCALED])
        scale_by_second_moment(self._rows[GRADIENT], self._rows[SCALED], self._moments.floor(found, steps))
        return found.has, steps, found.beta2


def _dense(gradient: Tensor | None) -> Tensor | None:
    """Return the gradient here, or None of a sparse one: its places are not those of the sample."""
    if gradient is None or gradient.layout is not torch.strided:
        return None
    return local(gradient)
