"""Taps on an optimizer: what its step did to a sample of the weights, on the device, no host read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from stabilitykit.observe.schema import GRADIENT, PREVIOUS, SCALED, UPDATE, WEIGHT, StepPart
from stabilitykit.observe.second_moments import Mask, SecondMoments
from stabilitykit.observe.site import Coverage
from stabilitykit.observe.steppers import Stepper
from stabilitykit.observe.watched import Watched
from stabilitykit.stats import (
    KeptViews,
    SamplePlan,
    Sampler,
    as_real,
    local,
    plan_sample,
    scale_by_second_moment,
)


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
    hides_moment: Mask
    """Which parameters have second moments that cannot be read."""


class OptimizerTap:
    """What is attached to an optimizer: sees a sample of the weights before and after its step.

    The update is the difference of two snapshots, so it means the same for any optimizer. Both are of a
    fixed sample (``stats.plan_sample``), which holds less than a hundredth of a large model. Nothing tells
    whether weights were written between two steps (``Tensor.data``, kernels), so both are taken at each.

    Until a step is seen, which may never be, weights are looked at when gradients are first read and when
    the step of training ends: what moved in between was moved by something.

    Args:
        stepper: The optimizer; None for parameters that none of those watched has.
        watched: Parameters by group; those of other optimizers are left out.
        number: Which optimizer it is.
    """

    def __init__(self, stepper: Stepper | None, watched: Watched, number: int = 0) -> None:
        self._stepper = stepper
        self._watched = watched
        self._number = number
        self._rows = torch.empty(0)
        self._unread: dict[str, int] = {}
        self._part = self._part_of(SamplePlan((0,) * self._n, (1,) * self._n))
        self._is_prepared = self._is_sharded = self._is_complex = self._has_seen = False
        self._has_before = self._has_look = self._has_gradients = False
        self._previous = self._has_gradient = np.zeros(self._n, dtype=bool)
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

    @property
    def _n(self) -> int:
        return len(self._watched.parameters)

    def coverage(self) -> list[Coverage]:
        """Return how the groups of this optimizer are watched, once it has taken a step."""
        read: tuple[str, ...] = ("optim/update_norm", "optim/update_ratio", "grad/cosine")
        if self._stepper and any("exp_avg_sq" in kept for at in self._stepper.states for kept in at.values()):
            read = (*read, "optim/rms_t", "optim/staleness")
        plan, rows = self._part.sample, []
        here = " of this process's shards" if self._is_sharded else ""
        here += "" if self._stepper else " of no optimizer that is watched"
        for place, group in enumerate(self._watched.groups):
            mine = self._watched.group_of == place
            size, looked_at = (int(np.array(n)[mine].sum()) for n in (plan.sizes, plan.counts))
            if mine.any():
                kind = "exact" if looked_at == size else "sampled"
                what = f"{looked_at:,} of {size:,} elements{here}" if self._is_prepared else "no step yet"
                rows.append(Coverage(group, kind, what, read, dark=self.dark))
        why = "{}: no updates: of {} parameters the numbers cannot be read"
        unread = self._unread.items()
        return rows + [Coverage(at, "missing", "", (), dark=why.format(at, count)) for at, count in unread]

    def before_step(self) -> None:
        """Keep the weights as they are before the optimizer's step."""
        self._guarded(self._before_step)

    def after_inner_step(self) -> None:
        """Keep the gradients as an inner optimizer has left them: its wrapper may clear them."""
        self._guarded(self._keep_gradients)

    def after_step(self, is_seen: bool = True) -> None:
        """Read what the step did, and from what.

        Args:
            is_seen: Whether an optimizer has stepped for sure.
        """
        self._guarded(lambda: self._after_step(is_seen))

    def look(self) -> None:
        """Keep the weights as they are before a step that may not be seen."""
        self._guarded(self._look)

    def end_look(self) -> None:
        """Read what has moved since, where no step was seen."""
        self._guarded(self._end_look)

    def reset(self) -> None:
        """Forget the step."""
        self.step = None
        self._has_look = False

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
        self._is_prepared = True
        self._leave_out_what_cannot_be_read()
        if not self._n:
            return
        self._is_sharded = any(local(p) is not p for p in self._watched.parameters)
        self._is_complex = any(p.is_complex() for p in self._watched.parameters)
        weights = self._here()
        plan = plan_sample([weight.shape for weight in weights])
        self._part = self._part_of(plan)
        self._sampler = Sampler(plan, weights[0])
        self._rows = self._sampler.room(SCALED + 1)
        self._before, self._scratch = self._sampler.room(), self._sampler.room()
        self._weights = KeptViews(self._sampler)
        if self._stepper:
            self._moments = SecondMoments(self._stepper, self._watched.parameters, self._sampler)
        state, self._resumed = self._resumed, None
        if state and not self._is_sharded and state["gradient"].shape == self._rows[PREVIOUS].shape:
            self._rows[PREVIOUS].copy_(state["gradient"])
            self._previous = np.array(state["has"], dtype=bool)

    def _leave_out_what_cannot_be_read(self) -> None:
        """Leave out each group of which some parameter is no plain numbers: the rest would say less."""
        unread = np.array([not _is_plain(local(p)) for p in self._watched.parameters], dtype=bool)
        if not unread.any():
            return
        places = np.unique(self._watched.group_of[unread])
        for place in places.tolist():
            mine = unread & (self._watched.group_of == place)
            self._unread[self._watched.groups[place]] = int(mine.sum())
        self._watched = self._watched.picked(np.flatnonzero(~np.isin(self._watched.group_of, places)))
        self._previous = self._has_gradient = np.zeros(self._n, dtype=bool)

    def _take(self, out: Tensor) -> None:
        """Take a snapshot of the weights."""
        self._join(self._weights.of(self._here()), out)

    def _before_step(self) -> None:
        if not self.armed:
            return
        if not self._is_prepared:
            self._prepare()
        self._has_gradients = False
        if self._n:
            self._take(self._before)
            self._has_before = True

    def _keep_gradients(self) -> None:
        if self.armed and self._has_before:
            self._read_gradients()
            self._has_gradients = True

    def _look(self) -> None:
        # Inside a step, as where a closure runs the backward pass, the weights before it are kept already.
        if self.armed and not (self._has_seen or self._has_look or self._has_before):
            self._before_step()
            self._has_look, self._has_before = self._has_before, False

    def _end_look(self) -> None:
        if self._has_look and self.step is None and not self._has_seen:
            self._has_before, self._has_gradients = True, False
            self._after_step(is_seen=False)

    def _after_step(self, is_seen: bool) -> None:
        self._has_seen |= is_seen
        if not self._has_before:
            return
        self._has_before = False
        if self.step is not None and self.step.part.is_seen and not is_seen:
            return
        rows = self._rows
        self._take(rows[WEIGHT])
        torch.sub(rows[WEIGHT], self._before, out=rows[UPDATE])
        if not self._has_gradients:
            self._read_gradients()
        has_gradient = self._has_gradient if is_seen else np.zeros(self._n, dtype=bool)
        has_moment, hides, steps, beta2 = self._read_moments(has_gradient)
        has_previous = has_gradient & self._previous
        products = torch.mul(rows[GRADIENT], rows[PREVIOUS], out=self._scratch).sum(-1)
        groups = self._stepper.groups if self._stepper else ()
        lr = groups[0].get("lr") if groups else None
        self.step = OptimizerStep(
            part=self._part if is_seen else replace(self._part, is_seen=False),
            lr=lr.detach().reshape(()) if isinstance(lr, Tensor) else lr,
            norms=torch.linalg.vector_norm(rows, dim=-1),
            products=products,
            steps=steps,
            beta2=beta2,
            has_gradient=has_gradient,
            has_previous=has_previous,
            has_moment=has_moment,
            hides_moment=hides,
        )
        if is_seen:
            rows[PREVIOUS].copy_(rows[GRADIENT])
            self._previous = has_gradient

    def _part_of(self, plan: SamplePlan) -> StepPart:
        return StepPart(self._number, tuple(self._watched.places.tolist()), plan)

    def _here(self) -> Sequence[Tensor]:
        """Return the weights, of sharded ones the shards on this process, of complex ones both parts."""
        if not (self._is_sharded or self._is_complex):
            return self._watched.parameters
        return [as_real(local(p)) for p in self._watched.parameters]

    def _join(self, views: list[Tensor], out: Tensor) -> None:
        if views:
            torch.cat(views, out=out.view(-1))

    def _read_gradients(self) -> None:
        """Sample the gradients as the optimizer saw them, and note which parameters have one."""
        found = [_dense(p.grad) for p in self._watched.parameters]
        self._join(self._sampler.views(found), self._rows[GRADIENT])
        self._has_gradient = np.array([gradient is not None for gradient in found])

    def _read_moments(self, has_gradient: Mask) -> tuple[Mask, Mask, Tensor, tuple[float, ...]]:
        """Sample g/√v̂ before bias correction; returns of which parameters, which hide it, steps and β2."""
        if self._stepper is None:
            none = np.zeros(self._n, dtype=bool)
            return none, none, torch.empty(0), ()
        found = self._moments.find(has_gradient)
        if not found.states:
            return found.has, found.hides, torch.empty(0), ()
        steps = self._moments.steps(found)
        self._join(self._moments.sample(found), self._rows[SCALED])
        scale_by_second_moment(self._rows[GRADIENT], self._rows[SCALED], self._moments.floor(found, steps))
        self._moments.test(found, self._rows[SCALED])
        return found.has, found.hides, self._moments.tested(found, steps), found.beta2


def _dense(gradient: Tensor | None) -> Tensor | None:
    """Return the gradient here, or None of a sparse one: its places are not those of the sample."""
    if gradient is None or gradient.layout is not torch.strided:
        return None
    return as_real(local(gradient))


def _is_plain(weight: Tensor) -> bool:
    """Return whether a weight is numbers in memory: not quantised, not of eight bits, not without any."""
    is_own = type(weight).__torch_dispatch__ is not Tensor.__torch_dispatch__
    if is_own or is_lazy(weight) or weight.layout is not torch.strided or weight.is_meta:
        return False
    return (weight.is_floating_point() or weight.is_complex()) and weight.dtype.itemsize > 1
