"""The collector: attaches taps to a model and its optimizer, and turns a step into a StepRecord."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from stabilitykit.guard import PATIENCE, Guard, say
from stabilitykit.observe.assembly import Assembly
from stabilitykit.observe.attention_tap import AttentionTap
from stabilitykit.observe.backward import GradientReadings
from stabilitykit.observe.calls import Tracer
from stabilitykit.observe.conventional import conventional_layout
from stabilitykit.observe.coverage import gain_rows, gradient_rows, missing_rows, site_rows
from stabilitykit.observe.detail_tap import DetailTaps
from stabilitykit.observe.foreign import bare_layout, layout_of
from stabilitykit.observe.optimizer_tap import OptimizerTap
from stabilitykit.observe.packing import PackedStep, unpacked
from stabilitykit.observe.partials import PartialBuffer
from stabilitykit.observe.ranks import Ranks
from stabilitykit.observe.rules import SiteRules, applied
from stabilitykit.observe.scalars import mean, scalar
from stabilitykit.observe.schema import Plan
from stabilitykit.observe.sharding import Share, has_flat_shards, shares, unwrapped
from stabilitykit.observe.site import EMPTY_LAYOUT, Coverage, Layout, Role
from stabilitykit.observe.statistic import Statistic, StatisticTap, with_statistics
from stabilitykit.observe.structure import assumed_calls, is_compiled
from stabilitykit.observe.tap import Tap
from stabilitykit.observe.watched import Watched
from stabilitykit.records import StepRecord

_PARTED = "the ranks watch different modules or parameters: readings are the first rank's alone"

_FLAT = "FullyShardedDataParallel hides the parameters: no gradients, updates or gains; use fully_shard"


class Collector:
    """Observes one model in training.

    Between ``arm`` and ``collect``, taps write partials on the device; ``collect`` reads them once and
    returns the step's record. Nothing here changes a value, a gradient or the random state.

    Where the model's modules do not carry conventional names, its first forward pass in training is watched
    from outside, and the taps are attached when its backward pass has ended; so the first record has
    activations, but neither attention nor output logits. A compiled model cannot be watched so, and its sites
    are taken from its structure.

    Where several processes train the model together, each must have a collector, and ``collect`` is one
    collective: all of them return the same record, of the whole batch.

    Args:
        model: The model to watch, or what ``DistributedDataParallel`` made of it.
        optimizers: Its optimizers, for updates and learning rate.
        rules: Sites to add, rename and leave out.
        statistics: Statistics of the user's own.

    Raises:
        ConfigError: A rule fits no module.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        rules: SiteRules | None = None,
        statistics: Sequence[Statistic] = (),
    ) -> None:
        model = unwrapped(model)
        self._model, self._optimizers = model, optimizers
        self._ranks = Ranks.current()
        self._rules = rules or SiteRules()
        self._statistics = tuple(statistics)
        self._modules = dict(model.named_modules())
        self._device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._tracer: Tracer | None = None
        self._resumed: Mapping[str, Any] | None = None
        self._handles: list[RemovableHandle] = []
        self._scalars: dict[str, list[Tensor | float]] = {}
        self._spoiled: set[str] = set()
        self._have_met = False
        self._armed = self._has_stepped = self._is_glance = False
        self._dark: dict[str, str] = {}
        self._guards: dict[str, Guard] = {}
        self._missing: set[str] = set()
        self._shares: tuple[Share, ...] | None = None
        self._host_reads = 0
        applied(self._rules, EMPTY_LAYOUT, model)
        self._use(EMPTY_LAYOUT)

    @property
    def is_located(self) -> bool:
        """Whether it is known what there is to watch."""
        return self.layout is not EMPTY_LAYOUT

    @property
    def is_alone(self) -> bool:
        """Whether no other process trains the model."""
        return self._ranks is None

    @property
    def rank(self) -> int:
        """Number of this process among those that train the model; 0 where it is alone."""
        return self._ranks.rank if self._ranks else 0

    @property
    def host_reads(self) -> int:
        """How often anything was read from the device: once a collected step.

        Ranks whose numbers are others than before, such as at the first step, read twice more.
        """
        return self._ranks.host_reads if self._ranks else self._host_reads

    def attach(self) -> None:
        """Hook the optimizers and the model, or what tells where to hook it.

        Raises:
            ConfigError: Not every rank has a collector.
        """
        if self._ranks:
            self._ranks.meet()
            self._have_met = True
        for place, optimizer in enumerate(self._optimizers):
            self._handles += [
                optimizer.register_step_pre_hook(partial(self._before_step, place)),
                optimizer.register_step_post_hook(partial(self._after_step, place)),
            ]
        layout = conventional_layout(self._model)
        if layout is not None:
            self._settle_on(layout)
        elif is_compiled(self._model):
            self._settle_on(self._found(None))
        else:
            self._tracer = Tracer(self._model, self._is_observed)

    def refuse(self, is_off: bool = False) -> None:
        """Let other ranks not wait for this one, which will not attach.

        Args:
            is_off: Whether it failed by itself, so that the others go off as well; else theirs are refused.
        """
        if self._ranks:
            self._ranks.refuse(is_off)

    def detach(self) -> None:
        """Remove every hook; may be called twice. What was watched, and how, is still told."""
        if self._tracer:
            self._guard("the end of looking into the model", self._tracer.detach, limit=None)
        handles, self._handles = self._handles, []
        for handle in handles:
            # One that cannot be removed must not leave the others.
            self._guard("a hook", handle.remove, limit=None)

    def _settle_on(self, layout: Layout) -> None:
        """Hook what a layout holds, by the user's rules and with the user's statistics."""
        self._use(with_statistics(applied(self._rules, layout, self._model), self._statistics))
        self._hook()

    def _found(self, calls: Tracer | None) -> Layout:
        """Return what the model's calls show; where that fails, its parameters are still watched."""
        try:
            if calls is not None and calls.error is not None:
                raise calls.error
            seen = bool(calls and calls.calls)
            found = calls.calls if calls and seen else assumed_calls(self._model)
            return layout_of(self._model, found, watched=seen)
        except Exception as error:  # An unknown model may hold anything: training goes on.
            why = f"the model could not be looked into: {type(error).__name__}: {error}"
            return bare_layout(self._model, why)

    def _use(self, layout: Layout) -> None:
        """Make room for what a layout holds."""
        if has_flat_shards(self._model) and layout.groups:
            layout = replace(layout, groups={}, gains={}, notes=(*layout.notes, _FLAT))
        self.layout = layout
        parameters = dict(self._model.named_parameters(remove_duplicate=False))
        groups = {group: [parameters[n] for n in names] for group, names in layout.groups.items()}
        self._watched, self._shares = Watched.of(groups), None
        gains = {norm: parameters[name] for norm, name in layout.gains.items()}
        self._plan = Plan.of(layout, self._watched, gains)
        self._buffer = PartialBuffer(len(layout.sites), self._device)
        self._assembly = Assembly()
        self._gradients = GradientReadings(self._watched, self._optimizers)
        self._optimizer_taps = [OptimizerTap(o, self._watched, n) for n, o in enumerate(self._optimizers)]
        for tap in self._optimizer_taps:
            tap.armed = self._armed
        if self._resumed is not None:
            self.load_state_dict(self._resumed)
        self._details = DetailTaps(layout, self._modules, self._is_observed, self._darken)
        self._taps: list[Tap | AttentionTap] = []
        self._fired = [0] * len(layout.sites)

    def _hook(self) -> None:
        for row, site in enumerate(self.layout.sites):
            tap = _TAPS.get(site.role, Tap)(site, row, self._buffer, self._is_observed, self._darken)
            self._taps.append(tap)
            handles = tap.attach(self._modules[site.module])
            self._handles.extend(handles if isinstance(handles, list) else [handles])
        self._handles.extend(self._details.attach())

    def _before_step(self, place: int, *args: Any) -> None:
        # Lightning's closure runs inside the step: this may be before the forward, and nothing known yet.
        self._guard("what there is to watch", self._settle)
        self._guard("the optimizer's step", lambda: self._optimizer_taps[place].before_step())

    def _after_step(self, place: int, *args: Any) -> None:
        self._has_stepped = True
        self._guard("the optimizer's update", lambda: self._optimizer_taps[place].after_step())

    def _guard(self, part: str, work: Callable[[], None], limit: int | None = PATIENCE) -> None:
        """Run what training itself calls, so that no error of ours reaches it."""
        self._guards.setdefault(part, Guard(part, limit))(work, None)

    def _settle(self, is_last_chance: bool = False) -> None:
        """Hook what the first forward pass showed, once there was one."""
        if self._tracer is None or not (self._tracer.calls or is_last_chance):
            return
        tracer, self._tracer = self._tracer, None
        tracer.detach()
        self._settle_on(self._found(tracer))
        self._is_glance = True
        for row, site in enumerate(self.layout.sites):
            if site.role is Role.ACTIVATION:
                for glance in tracer.glances(site):
                    self._buffer.write(row, glance.norm, glance.minimum, glance.maximum, glance.count)

    def arm(self, on: bool = True, detail: bool = False) -> None:
        """Observe training forwards and optimizer steps from here on, or stop to.

        Args:
            on: Whether to observe.
            detail: Whether to take the dearer statistics too.
        """
        self._settle()
        self._armed = on
        self._details.armed = detail
        for tap in self._optimizer_taps:
            tap.armed = on

    def read_gradients(self, scale: Tensor | None = None) -> None:
        """Take the gradients' norms as they are now; call it before clipping.

        Args:
            scale: What a loss scaler has multiplied the gradients by; none where nothing has.
        """
        # Where several optimizers step in turn, the first backward pass may have seen only one's part.
        if len(self._optimizers) <= 1:
            self._settle()
        if not self._armed or _GRADIENTS in self._dark:
            return
        try:
            self._gradients.read(scale)
        except Exception as error:  # Activations and updates are still read.
            self._darken(_GRADIENTS, error)
            self._gradients.reset()

    def before_step(self, optimizer: Optimizer) -> None:
        """Note that an optimizer steps with the gradients as they were read last.

        Where nobody has read them at this step they are read now: clipped norms are better than none.
        """
        if self._armed and not self._gradients.are_read:
            self.read_gradients()
        self._gradients.use(optimizer)

    def add_scalars(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Take what training itself says of a microbatch, such as its loss; means are kept over them.

        What is no number is left out at this step, and that is said once a name.
        """
        for name, value in scalars.items():
            tag = name if "/" in name else f"train/{re.sub(r'[^a-z0-9_.]', '_', name.lower())}"
            try:
                number = scalar(value, self._device)
            except Exception as error:  # Somebody's own object may refuse in any way.
                if tag not in self._missing:
                    self._missing.add(tag)
                    say(f"{tag} is missing where it is no number: {error}")
                # A mean over the other microbatches alone would be another number.
                self._spoiled.add(tag)
            else:
                self._scalars.setdefault(tag, []).append(number)

    def collect(self, step: int) -> StepRecord:
        """Read the step from the device, once, and forget it there.

        Args:
            step: Optimizer steps finished before this one.
        """
        self._settle(is_last_chance=True)
        packed = self._pack()
        if self._ranks:
            schema, numbers = self._ranks.merge(packed)
            if self._ranks.is_alone and _PARTED not in self.layout.notes:
                self.layout = replace(self.layout, notes=(*self.layout.notes, _PARTED))
        else:
            self._host_reads += 1
            host = np.concatenate([packed.host, packed.vector.cpu().double().numpy()])
            schema, numbers = packed.schema, unpacked(packed.schema, host)
        record = self._assembly.record(step, schema, numbers)
        # What the tracer saw says nothing yet of whether the taps fire.
        if schema.plan == self._plan and not self._is_glance:
            for row in self._assembly.fired_rows:
                self._fired[row] += 1
        self.reset()
        return record

    def leave(self) -> None:
        """Tell the other ranks, in place of collecting, that this one observes no more; at most once."""
        if self._ranks and self._have_met:
            self._ranks.leave()

    def reset(self) -> None:
        """Forget a step that is not collected."""
        self._buffer.reset()
        self._scalars.clear()
        self._spoiled.clear()
        self._gradients.reset()
        self._has_stepped = self._is_glance = False
        self._details.reset()
        for tap in self._optimizer_taps:
            tap.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step's readings need of this one's: a sample of the gradients."""
        return {"optimizers": [tap.state_dict() for tap in self._optimizer_taps]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned.

        Raises:
            KeyError: It is none, or another version's; as are the errors of other types.
        """
        own = [dict(each) for each in state["optimizers"]]
        # Where the model is not known yet, other taps will stand in their place.
        self._resumed = None if self.is_located else state
        for tap, each in zip(self._optimizer_taps, own, strict=False):
            tap.load_state_dict(each)

    def coverage(self) -> list[Coverage]:
        """Return how each site is watched, and what is not watched and why."""
        kinds = {tap.site.name: tap.kind for tap in self._taps if isinstance(tap, AttentionTap)}
        return [
            *site_rows(self.layout, self._modules, kinds, self._fired, self._dark),
            *gradient_rows(self.layout, self._dark.get(_GRADIENTS, "")),
            *(row for tap in self._optimizer_taps for row in tap.coverage()),
            *self._details.coverage(self._described, self._dark),
            *gain_rows(self.layout),
            *missing_rows(self.layout),
        ]

    def _pack(self) -> PackedStep:
        """Join everything that waits for this step."""
        whole = {tag: values for tag, values in self._scalars.items() if tag not in self._spoiled}
        means = {tag: mean(values) for tag, values in whole.items()}
        on_device = {tag: value for tag, value in means.items() if isinstance(value, Tensor)}
        floats = {tag: value for tag, value in means.items() if not isinstance(value, Tensor)}
        steps = [tap.step for tap in self._optimizer_taps if tap.step is not None]
        if steps and isinstance(steps[0].lr, Tensor):
            on_device["optim/lr"] = steps[0].lr
        elif steps and steps[0].lr is not None:
            floats["optim/lr"] = float(steps[0].lr)
        if self._ranks and self._shares is None:
            # Not before the first step, as in the taps: parameters may be sharded until then.
            self._shares = shares(self._watched.parameters)
        return PackedStep.of(
            plan=self._plan,
            shares=self._shares or (),
            buffer=self._buffer,
            floats=floats,
            scalars=on_device,
            gradients=self._gradients.joined(),
            has_stepped=self._has_stepped,
            steps=steps,
            has_optimizer=any(tap.is_on for tap in self._optimizer_taps),
            details=self._details.newest(),
        )

    @property
    def device(self) -> torch.device:
        """Where the partials of a step wait."""
        return self._device

    @property
    def dark(self) -> Mapping[str, str]:
        """Why sites are no longer watched."""
        return MappingProxyType(self._dark)

    def _is_observed(self, module: nn.Module) -> bool:
        if torch.compiler.is_compiling():
            # The root may be the wrapper of the graph being compiled, which must not meet itself.
            return self._armed and module.training
        # Inside a backward pass a forward is a recomputation (activation checkpointing): already counted.
        return self._armed and self._model.training and torch._C._current_graph_task_id() == -1

    def _described(self, path: str) -> str:
        return f"{type(self._modules[path]).__name__} {path}"

    def _darken(self, site: str, error: BaseException) -> None:
        self._dark.setdefault(site, f"{type(error).__name__}: {error}")


_GRADIENTS = "gradients"
"""What stands for the reading of gradients where it fails."""

_TAPS: Mapping[Role, Callable[..., Tap | AttentionTap]] = {
    Role.ATTENTION: AttentionTap,
    Role.STATISTIC: StatisticTap,
}
