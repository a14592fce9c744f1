"""The collector: attaches taps to a model and its optimizer, and turns a step into a StepRecord."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from stabilitykit.observe.assembly import Assembly
from stabilitykit.observe.attention_tap import AttentionTap
from stabilitykit.observe.calls import Tracer
from stabilitykit.observe.conventional import conventional_layout
from stabilitykit.observe.coverage import parameter_rows, site_rows
from stabilitykit.observe.foreign import layout_of
from stabilitykit.observe.optimizer_tap import (
    GroupVector,
    OptimizerStep,
    OptimizerTap,
    Scratch,
    gradient_norms,
)
from stabilitykit.observe.partials import PartialBuffer, pack
from stabilitykit.observe.ranks import Ranks
from stabilitykit.observe.rules import SiteRules, applied
from stabilitykit.observe.schema import Part, Plan, Schema
from stabilitykit.observe.sharding import has_flat_shards, unwrapped
from stabilitykit.observe.site import EMPTY_LAYOUT, Coverage, Layout, Role
from stabilitykit.observe.structure import assumed_calls, is_compiled
from stabilitykit.observe.tap import Tap
from stabilitykit.records import StepRecord

_PARTED = "the ranks watch different modules or parameters: readings are the first rank's alone"

_FLAT = "FullyShardedDataParallel hides the parameters: no gradients, updates or gains; use fully_shard"


class Collector:
    """Observes one model in training.

    Between ``arm`` and ``collect``, taps write partials on the device; ``collect`` reads them once and
    returns the step's record. Nothing here changes a value, a gradient or the random state.

    Where the model's modules do not carry conventional names, its first forward pass in training is watched
    from outside, and the taps are attached when its backward pass has ended; so the first record has no
    activations. A compiled model cannot be watched so, and its sites are taken from its structure.

    Where several processes train the model together, each must have a collector, and ``collect`` is one
    collective: all of them return the same record, of the whole batch.

    Args:
        model: The model to watch, or what ``DistributedDataParallel`` made of it.
        optimizers: Its optimizers, for updates and learning rate.
        rules: Sites to add, rename and leave out.

    Raises:
        ConfigError: A rule fits no module.
    """

    def __init__(
        self, model: nn.Module, optimizers: Sequence[Optimizer], rules: SiteRules | None = None
    ) -> None:
        model = unwrapped(model)
        self._model, self._optimizers = model, optimizers
        self._ranks = Ranks.current()
        self._rules = rules or SiteRules()
        self._modules = dict(model.named_modules())
        self._device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._tracer: Tracer | None = None
        self._handles: list[RemovableHandle] = []
        self._gradients: GroupVector | None = None
        self._scalars: dict[str, list[Tensor | float]] = {}
        self._armed = False
        self._dark: dict[str, str] = {}
        self._host_reads = 0
        applied(self._rules, EMPTY_LAYOUT, model)
        self._use(EMPTY_LAYOUT)

    @property
    def is_located(self) -> bool:
        """Whether it is known what there is to watch."""
        return self.layout is not EMPTY_LAYOUT

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
        """Hook the model and its optimizers, or what tells where to hook them.

        Raises:
            ConfigError: Not every rank has a collector.
        """
        if self._ranks:
            self._ranks.meet()
        layout = conventional_layout(self._model)
        if layout is None and is_compiled(self._model):
            layout = layout_of(self._model, assumed_calls(self._model), watched=False)
        if layout is None:
            self._tracer = Tracer(self._model, self._is_observed)
        else:
            self._use(applied(self._rules, layout, self._model))
            self._hook()

    def refuse(self) -> None:
        """Let other ranks not wait for this one, which will not attach."""
        if self._ranks:
            self._ranks.refuse()

    def detach(self) -> None:
        """Remove every hook; may be called twice. What was watched, and how, is still told."""
        if self._tracer:
            self._tracer.detach()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _use(self, layout: Layout) -> None:
        """Make room for what a layout holds."""
        if has_flat_shards(self._model) and layout.groups:
            layout = Layout(layout.sites, {}, {}, (*layout.notes, _FLAT))
        self.layout = layout
        parameters = dict(self._model.named_parameters(remove_duplicate=False))
        self._groups = {
            group: [parameters[name] for name in names if self._owns(parameters[name], turn)]
            for turn, (group, names) in enumerate(layout.groups.items())
        }
        gains = {
            norm: parameters[name]
            for turn, (norm, name) in enumerate(layout.gains.items())
            if self._owns(parameters[name], turn)
        }
        self._plan = Plan.of(layout)
        self._buffer = PartialBuffer(len(layout.sites), self._device)
        self._assembly = Assembly()
        self._scratch = Scratch(self._groups)
        self._optimizer_taps = [OptimizerTap(o, self._groups, gains, self._scratch) for o in self._optimizers]
        for tap in self._optimizer_taps:
            tap.armed = self._armed
        self._taps: list[Tap | AttentionTap] = []
        self._fired = [0] * len(layout.sites)

    def _owns(self, parameter: nn.Parameter, turn: int) -> bool:
        return self._ranks is None or self._ranks.owns(parameter, turn)

    def _hook(self) -> None:
        for row, site in enumerate(self.layout.sites):
            kind = AttentionTap if site.role is Role.ATTENTION else Tap
            tap = kind(site, row, self._buffer, self._is_observed, self._darken)
            self._taps.append(tap)
            handles = tap.attach(self._modules[site.module])
            self._handles.extend(handles if isinstance(handles, list) else [handles])
        for optimizer_tap in self._optimizer_taps:
            self._handles.extend(optimizer_tap.attach())

    def _settle(self, is_last_chance: bool = False) -> None:
        """Hook what the first forward pass showed, once there was one."""
        if self._tracer is None or not (self._tracer.calls or is_last_chance):
            return
        calls, self._tracer = self._tracer, None
        calls.detach()
        seen = bool(calls.calls)
        layout = layout_of(self._model, calls.calls if seen else assumed_calls(self._model), watched=seen)
        self._use(applied(self._rules, layout, self._model))
        self._hook()

    def arm(self, on: bool = True) -> None:
        """Observe training forwards and optimizer steps from here on, or stop to."""
        self._settle()
        self._armed = on
        for tap in self._optimizer_taps:
            tap.armed = on

    def read_gradients(self) -> None:
        """Take the gradients' norms as they are now; call it unscaled and before clipping."""
        self._settle()
        if self._armed:
            with torch.no_grad():
                self._gradients = gradient_norms(self._groups, self._scratch)

    def read_gradients_if_unread(self) -> None:
        """Take the gradients' norms if nobody has taken them at this step."""
        if self._gradients is None:
            self.read_gradients()

    def add_scalars(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Take what training itself says of a microbatch, such as its loss; means are kept over them."""
        for name, value in scalars.items():
            tag = name if "/" in name else f"train/{re.sub(r'[^a-z0-9_.]', '_', name.lower())}"
            self._scalars.setdefault(tag, []).append(value.detach() if isinstance(value, Tensor) else value)

    def collect(self, step: int) -> StepRecord:
        """Read the step from the device, once, and forget it there.

        Args:
            step: Optimizer steps finished before this one.
        """
        self._settle(is_last_chance=True)
        schema, host, vector = self._pack()
        if self._ranks:
            was_alone = self._ranks.is_alone
            schema, numbers = self._ranks.merge(schema, host, vector)
            if self._ranks.is_alone and not was_alone:
                self._part()
        else:
            self._host_reads += 1
            numbers = np.concatenate([host, vector.cpu().double().numpy()])
        record = self._assembly.record(step, schema, numbers)
        if schema.plan == self._plan:
            for row in self._assembly.fired_rows:
                self._fired[row] += 1
        self.reset()
        return record

    def leave(self) -> None:
        """Tell the other ranks, in place of collecting, that this one observes no more; at most once."""
        if self._ranks:
            self._ranks.leave()

    def _part(self) -> None:
        """Go on where other ranks watch something else: read everything that this rank has."""
        self.detach()
        self._use(replace(self.layout, notes=(*self.layout.notes, _PARTED)))
        self._hook()

    def reset(self) -> None:
        """Forget a step that is not collected."""
        self._buffer.reset()
        self._scalars.clear()
        self._gradients = None
        for tap in self._optimizer_taps:
            tap.reset()

    def coverage(self) -> list[Coverage]:
        """Return how each site is watched, and what is not watched and why."""
        kinds = {tap.site.name: tap.kind for tap in self._taps if isinstance(tap, AttentionTap)}
        has_moments = any(tap.has_second_moments for tap in self._optimizer_taps)
        return [
            *site_rows(self.layout, self._modules, kinds, self._fired, self._dark),
            *parameter_rows(self.layout, has_moments),
        ]

    def _pack(self) -> tuple[Schema, list[float], Tensor]:
        """Join what waits on the device into one vector, and what waits on the host into a list."""
        means = {tag: _mean(values) for tag, values in self._scalars.items()}
        on_device = {tag: value for tag, value in means.items() if isinstance(value, Tensor)}
        floats = {tag: value for tag, value in means.items() if not isinstance(value, Tensor)}
        steps = [tap.step for tap in self._optimizer_taps if tap.step is not None]
        parts = {"gradients": self._gradients} if self._gradients and self._gradients.groups else {}
        if steps:
            floats["optim/lr"] = steps[0].lr
            parts |= {what: _joined(steps, what) for what in ("updates", "weights", "gains")}
            scaled = _joined(steps, "scaled_gradients")
            parts |= {"scaled_gradients": scaled} if scaled.groups else {}
        corrections = [step.correction for step in steps if step.correction is not None][:1]
        vectors = [value for vector in parts.values() for value in vector.values]
        device = self._buffer.rows.device
        tensors = [self._buffer.partials(), *on_device.values(), *vectors, *corrections]
        schema = Schema(
            self._plan,
            floats=tuple(floats),
            scalars=tuple(on_device),
            parts=tuple(Part(what, tuple(v.groups), tuple(v.sizes)) for what, v in parts.items()),
            corrected=bool(corrections),
        )
        host = [*self._buffer.counts, *floats.values()]
        return schema, host, pack([t.to(device) for t in tensors])

    def _is_observed(self, module: nn.Module) -> bool:
        if torch.compiler.is_compiling():
            # The root may be the wrapper of the graph being compiled, which must not meet itself.
            return self._armed and module.training
        # Inside a backward pass a forward is a recomputation (activation checkpointing): already counted.
        return self._armed and self._model.training and torch._C._current_graph_task_id() == -1

    def _darken(self, site: str, error: BaseException) -> None:
        self._dark.setdefault(site, f"{type(error).__name__}: {error}")


def _mean(values: list[Tensor | float]) -> Tensor | float:
    if isinstance(values[0], Tensor):
        return (
            torch.stack([torch.as_tensor(v) for v in values]).float().mean() if len(values) > 1 else values[0]
        )
    return float(sum(float(v) for v in values) / len(values))


def _joined(steps: Sequence[OptimizerStep], what: str) -> GroupVector:
    """Return one vector of all optimizers."""
    vectors: list[GroupVector] = [getattr(step, what) for step in steps]
    return GroupVector(
        [group for vector in vectors for group in vector.groups],
        [value for vector in vectors for value in vector.values],
        [size for vector in vectors for size in vector.sizes],
    )
