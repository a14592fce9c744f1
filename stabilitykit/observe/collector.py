"""The collector: attaches taps to a model and its optimizer, and turns a step into a StepRecord."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.nn.parameter import is_lazy

from stabilitykit.guard import PATIENCE, Guard, say
from stabilitykit.observe.assembly import Assembly
from stabilitykit.observe.attention_tap import AttentionTap
from stabilitykit.observe.backward import GradientReadings
from stabilitykit.observe.calls import Tracer
from stabilitykit.observe.changes import Structure
from stabilitykit.observe.conventional import conventional_layout
from stabilitykit.observe.coverage import gain_rows, gradient_rows, missing_rows, site_rows
from stabilitykit.observe.detail_tap import DetailTap, DetailTaps
from stabilitykit.observe.foreign import bare_layout, layout_of
from stabilitykit.observe.forwards import Forwards, entrances
from stabilitykit.observe.hook import Handle, hook_input, hook_output
from stabilitykit.observe.misses import Misses
from stabilitykit.observe.optimizer_tap import OptimizerTap
from stabilitykit.observe.packing import PackedStep, unpacked
from stabilitykit.observe.partials import PartialBuffer
from stabilitykit.observe.ranks import Ranks
from stabilitykit.observe.routers import RouterTap, RouterTaps
from stabilitykit.observe.rules import SiteRules, applied
from stabilitykit.observe.scalars import mean, scalar
from stabilitykit.observe.schema import Plan
from stabilitykit.observe.scripted import SCRIPTED, without_scripted
from stabilitykit.observe.sharding import Share, has_flat_shards, shares, unwrapped
from stabilitykit.observe.site import EMPTY_LAYOUT, Coverage, Layout, Role
from stabilitykit.observe.statistic import Statistic
from stabilitykit.observe.statistic_tap import StatisticTap, with_statistics
from stabilitykit.observe.steppers import Listener, Removable, Stepper, optimizers_of
from stabilitykit.observe.structure import assumed_calls, is_compiled
from stabilitykit.observe.tap import Tap
from stabilitykit.observe.turns import Turns
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
        optimizers: Its optimizers, for updates and learning rate: anything with ``step`` and
            ``param_groups``, several of such, or None.
        rules: Sites to add, rename and leave out.
        statistics: Statistics of the user's own.

    Raises:
        ConfigError: A rule fits no module, or something else stands in an optimizer's place.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Any,
        rules: SiteRules | None = None,
        statistics: Sequence[Statistic] = (),
    ) -> None:
        model = unwrapped(model)
        self._model = model
        self._steppers = [Stepper(optimizer) for optimizer in optimizers_of(optimizers)]
        self._ranks = Ranks.current()
        self._rules = rules or SiteRules()
        self._statistics = tuple(statistics)
        self._structure = Structure(model)
        self._modules = dict(model.named_modules())
        self._device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._tracer: Tracer | None = None
        self._resumed: Mapping[str, Any] | None = None
        self._handles: list[Handle] = []
        self._stepper_handles: list[Removable] = []
        self._forwards = Forwards(model, self)
        self._misses = Misses()
        self._on_change: list[Callable[[], None]] = []
        self._changes, self._has_changed = 0, False
        self._loses_gradients = False
        self._is_compared = self._waits = False
        self._scalars: dict[str, list[Tensor | float]] = {}
        self._spoiled: set[str] = set()
        self._have_met = False
        self._armed = self._has_stepped = self._is_glance = False
        self._guards: dict[str, Guard] = {}
        self._missing: set[str] = set()
        self._shares: tuple[Share, ...] | None = None
        self._host_reads = 0
        applied(self._rules, EMPTY_LAYOUT, model)
        self._use(EMPTY_LAYOUT)

    @property
    def model(self) -> nn.Module:
        """The model, without wrappers."""
        return self._model

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

    @property
    def has_stepped(self) -> bool:
        """Whether an optimizer has stepped since the last step was collected or passed by."""
        return self._has_stepped

    def attach(self) -> None:
        """Hook the optimizers and the model, or what tells where to hook it.

        Raises:
            ConfigError: Not every rank has a collector.
        """
        if self._ranks:
            self._ranks.meet()
            self._have_met = True
        for place, stepper in enumerate(self._steppers):
            try:
                self._stepper_handles += stepper.attach(self._listener(place))
            except Exception as error:  # Its steps are still seen by what they have moved.
                name = type(stepper.optimizer).__name__
                self._misses.darken(f"steps of {name}", error)
        self._look()

    def _listener(self, place: int) -> Listener:
        """Return what hears the steps of an optimizer."""
        return Listener(
            began=partial(self._before_step, place),
            used=lambda: self._guard(
                "the optimizer's inner step", lambda: self._optimizer_taps[place].after_inner_step()
            ),
            ended=partial(self._after_step, place),
        )

    def _look(self) -> None:
        """Hook the model, or what tells where to hook it."""
        self._structure = Structure(self._model)
        self._modules = dict(self._model.named_modules())
        layout = conventional_layout(self._model)
        if layout is not None and not any(is_lazy(p) for p in self._model.parameters()):
            self._settle_on(layout)
        elif is_compiled(self._model):
            self._settle_on(self._found(None))
        else:
            self._tracer = Tracer(self._model, self._is_observed, self._forwards)

    def refuse(self, is_off: bool = False) -> None:
        """Let other ranks not wait for this one, which will not attach.

        Args:
            is_off: Whether it failed by itself, so that the others go off as well; else theirs are refused.
        """
        if self._ranks:
            self._ranks.refuse(is_off)

    def detach(self) -> None:
        """Remove every hook; may be called twice. What was watched, and how, is still told."""
        steppers, self._stepper_handles = self._stepper_handles, []
        for each in steppers:
            self._guard("an optimizer's hook", each.remove, limit=None)
        self._unhook()

    def _unhook(self) -> None:
        """Remove every hook on the model."""
        if self._tracer:
            self._guard("the end of looking into the model", self._tracer.detach, limit=None)
        handles, self._handles = self._handles, []
        for handle in handles:
            # One that cannot be removed must not leave the others.
            self._guard("a hook", handle.remove, limit=None)
        self._guard("what was open in a forward pass", self._close_modes, limit=None)

    def _settle_on(self, layout: Layout) -> None:
        """Hook what a layout holds, by the user's rules and with the user's statistics."""
        layout = with_statistics(applied(self._rules, layout, self._model), self._statistics)
        self._use(without_scripted(layout, self._modules))
        self._hook()

    def _found(self, calls: Tracer | None) -> Layout:
        """Return what the model's calls show; where that fails, its parameters are still watched."""
        try:
            if calls is not None and calls.error is not None:
                raise calls.error
            if isinstance(self._model, torch.jit.ScriptModule):
                return bare_layout(self._model, SCRIPTED)
            seen = bool(calls and calls.calls)
            found = calls.calls if calls and seen else assumed_calls(self._model)
            heads = calls.heads if calls and seen else None
            return layout_of(self._model, found, watched=seen, heads=heads)
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
        self._watched = Watched.of(groups)
        self._structure.watch(self._watched.parameters)
        gains = {norm: parameters[name] for norm, name in layout.gains.items()}
        self._plan = Plan.of(layout, self._watched, gains)
        self._buffer = PartialBuffer(len(layout.sites), self._device)
        self._assembly = Assembly()
        self._share_out()
        self._details = DetailTaps(layout, self._modules, self._is_observed, self._misses.note)
        self._routers = RouterTaps(layout, self._is_observed, self._misses.note)
        self._turns = Turns(self._modules, self._is_observed)
        self._taps: list[Tap | AttentionTap] = []
        self._fired = [0] * len(layout.sites)

    def _share_out(self) -> None:
        """Give each optimizer its parameters, as it has them now."""
        self._shares = None
        held = [stepper.parameters for stepper in self._steppers]
        self._held_ids = [list(map(id, each)) for each in held]
        self._gradients = GradientReadings(self._watched, held)
        taken = {id(p) for each in held for p in each}
        rest = [p for p in self._watched.parameters if id(p) not in taken]
        self._optimizer_taps = [
            OptimizerTap(stepper, self._watched.among(own), place)
            for place, (stepper, own) in enumerate(zip(self._steppers, held, strict=True))
        ]
        if rest:
            self._optimizer_taps.append(OptimizerTap(None, self._watched.among(rest), len(held)))
        for tap in self._optimizer_taps:
            tap.armed = self._armed
        if self._resumed is not None:
            self.load_state_dict(self._resumed)

    def _follow(self) -> None:
        """Look anew where the model or an optimizer is no longer made of what was found."""
        self._is_compared = True
        if not self.is_located or self._changes > _MOST_CHANGES:
            return
        if self._structure.has_changed():
            self._look_anew()
        elif [list(map(id, stepper.parameters)) for stepper in self._steppers] != self._held_ids:
            self._share_out()

    def _look_anew(self) -> None:
        """Forget what was found and what this step has left of it, and look again."""
        self._has_changed = True
        self._changes += 1
        self._unhook()
        self._tracer, self._waits = None, True
        if self._changes > _MOST_CHANGES:
            self._use(replace(EMPTY_LAYOUT, notes=(_CHANGING,)))
            return
        self._use(EMPTY_LAYOUT)
        self._look()
        for call in self._on_change:
            call()

    def when_changed(self, call: Callable[[], None]) -> None:
        """Call something whenever modules or parameters of the model were found to be others than before."""
        self._on_change.append(call)

    def _hook(self) -> None:
        for row, site in enumerate(self.layout.sites):
            tap = _TAPS.get(site.role, Tap)(site, row, self._buffer, self._is_observed, self._misses.note)
            tap.turn = self._turns.of(site)
            self._taps.append(tap)
            self._attach(site.key, tap, self._modules[site.module])
        self._details.take_turns(self._turns.of)
        for detail in self._details.taps:
            self._attach(detail.site, detail, self._modules[detail.module])
        for router in self._routers.taps:
            self._attach(router.site, router, self._modules[router.router.module])
        self._handles.extend(self._turns.attach())
        # Behind the taps, so that a forward ends when they have seen it.
        hidden = [*self._details.modules(), *(tap.router.module for tap in self._routers.taps)]
        self._hook_forwards([*(site.module for site in self.layout.sites), *hidden])

    def _attach(self, site: str, tap: Tap | AttentionTap | DetailTap | RouterTap, module: nn.Module) -> None:
        try:
            self._handles.extend(tap.attach(module))
        except Exception as error:  # A module may refuse hooks: it is not watched, the rest is.
            self._misses.darken(site, error)

    def _hook_forwards(self, paths: Sequence[str]) -> None:
        """Hook the modules whose forwards are judged: the root, and all that may be called without it."""
        for path in entrances(paths, self._modules):
            module = self._modules[path]
            if isinstance(module, OptimizedModule | torch.jit.ScriptModule):
                continue
            with suppress(Exception):
                self._handles += [
                    hook_input(
                        module, lambda _, args, kwargs: self._forwards.enter(args, kwargs), prepend=True
                    ),
                    hook_output(
                        module, lambda _, args, output: self._forwards.leave(output), always_call=True
                    ),
                ]

    def _before_step(self, place: int) -> None:
        # Lightning's closure runs inside the step: this may be before the forward, and nothing known yet.
        self._guard("what there is to watch", self._settle)
        self._guard("the optimizer's step", lambda: self._optimizer_taps[place].before_step())

    def _after_step(self, place: int, is_seen: bool) -> None:
        self._has_stepped |= is_seen
        self._guard("the optimizer's update", lambda: self._optimizer_taps[place].after_step(is_seen))

    def _guard(self, part: str, work: Callable[[], None], limit: int | None = PATIENCE) -> None:
        """Run what training itself calls, so that no error of ours reaches it."""
        self._guards.setdefault(part, Guard(part, limit))(work, None)

    def _settle(self, is_last_chance: bool = False) -> None:
        """Hook what the first forward pass showed, once there was one."""
        tracer = self._tracer
        if tracer is None:
            return
        is_ready = bool(tracer.calls) and self._forwards.is_certain
        if not is_ready and not (is_last_chance and (tracer.calls or not self._waits)):
            return
        if self._structure.has_changed():
            # What was replaced since was not watched from outside.
            self._look_anew()
            return
        self._waits = False
        self._tracer = None
        tracer.detach()
        self._settle_on(conventional_layout(self._model) or self._found(tracer))
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
        if on:
            self._follow()
        self._is_compared = False
        self._close_modes()
        self._armed = self._forwards.armed = on
        self._details.armed = detail
        for tap in self._optimizer_taps:
            tap.armed = on
            if self._loses_gradients:
                # Weights move within the backward pass: its end is too late to look at them.
                tap.look()

    def read_gradients(self, scale: Tensor | None = None, gone: Sequence[Tensor] = ()) -> None:
        """Take the gradients' norms as they are now; call it before clipping.

        Args:
            scale: What a loss scaler has multiplied the gradients by; none where nothing has.
            gone: Parameters that have had a gradient, and have none any more.
        """
        # Where several optimizers step in turn, the first backward pass may have seen only one's part.
        if len(self._steppers) <= 1:
            self._settle()
        if not self._armed:
            return
        if not self._is_compared:
            self._follow()
        lost = self._gradients.lacks(gone) if gone else 0
        self._loses_gradients |= bool(lost)
        if not self._loses_gradients:
            for tap in self._optimizer_taps:
                tap.look()
        if lost:
            self._give_up_gradients(lost)
        else:
            self._try_gradients(lambda: self._gradients.read(scale))

    def _give_up_gradients(self, lost: int) -> None:
        """Read no gradients any more: those that are left would be taken for all."""
        why = (
            f"gradients of {lost} parameters or more are gone before the backward pass ends, as where "
            "something steps inside it that is not watched"
        )
        self._misses.darken(_GRADIENTS, RuntimeError(why))
        self._gradients.reset()

    def _try_gradients(self, part: Callable[[], None]) -> None:
        if _GRADIENTS in self._misses.dark:
            return
        try:
            part()
        except NotImplementedError as error:  # It will not be read at the next step either.
            self._misses.darken(_GRADIENTS, error)
            self._gradients.reset()
        except Exception as error:  # Activations and updates are still read.
            self._misses.note(_GRADIENTS, error)
            self._gradients.reset()

    def before_step(self, optimizer: Any) -> None:
        """Note that an optimizer steps with the gradients as they were read last.

        Where nobody has read them at this step they are read now: clipped norms are better than none. Inside
        a backward pass they are the optimizer's own alone, since it may clear them.
        """
        place = next(
            (n for n, s in enumerate(self._steppers) if any(m is optimizer for m in s.members)), None
        )
        if not self._armed or place is None:
            return
        if torch._C._current_graph_task_id() != -1:
            self._try_gradients(lambda: self._gradients.use_now(place))
            return
        if not self._gradients.are_read:
            self.read_gradients()
        self._gradients.use(place)

    def divide_gradients(self, scale: Tensor) -> None:
        """Take gradients that were read at this step as still multiplied by a loss scaler's scale."""
        self._gradients.divide(scale)

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
        self._forwards.finish()
        self._settle(is_last_chance=True)
        for tap in self._optimizer_taps:
            tap.end_look()
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
        if not self._has_changed and self._changes <= _MOST_CHANGES:
            self._changes = 0
        self._has_changed = False
        # What the tracer saw says nothing yet of whether the taps fire.
        if schema.plan == self._plan and not self._is_glance:
            for row in self._assembly.fired_rows:
                self._fired[row] += 1
        self._end_misses()
        self.reset()
        return record

    def pass_by(self) -> None:
        """End a step that was not observed."""
        self._has_stepped = False

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
        self._routers.reset()
        self._forwards.reset()
        self._misses.forget()
        for tap in self._optimizer_taps:
            tap.reset()
        for stepper in self._steppers:
            stepper.forget()

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
        sites = zip(self.layout.sites, self._fired, strict=True)
        never = {site.key for site, fired in sites if not fired}
        never |= {tap.site for tap in self._details.taps if not tap.fired}
        never |= {tap.site for tap in self._routers.taps if not tap.fired}
        told = self._misses.told
        dark = {key: told[key] for key in never if key in told} | self._misses.dark
        return [
            *site_rows(self.layout, self._modules, kinds, self._fired, dark),
            *gradient_rows(self.layout, self._misses.dark.get(_GRADIENTS, "")),
            *(row for tap in self._optimizer_taps for row in tap.coverage()),
            *self._details.coverage(self._described, dark),
            *self._routers.coverage(self._described, dark),
            *gain_rows(self.layout),
            *missing_rows((*self.layout.notes, *self._turns.notes(_lines(self.layout)))),
        ]

    def _pack(self) -> PackedStep:
        """Join everything that waits for this step."""
        whole = {tag: values for tag, values in self._scalars.items() if tag not in self._spoiled}
        means = {tag: mean(values) for tag, values in whole.items()}
        on_device = {tag: value for tag, value in means.items() if isinstance(value, Tensor)}
        floats = {tag: value for tag, value in means.items() if not isinstance(value, Tensor)}
        steps = [tap.step for tap in self._optimizer_taps if tap.step is not None]
        lr = next((step.lr for step in steps if step.part.is_seen), None)
        if isinstance(lr, Tensor):
            on_device["optim/lr"] = lr
        elif lr is not None:
            floats["optim/lr"] = float(lr)
        # Of the first step inside a backward pass nobody knows whether it was one.
        is_told = bool(steps) or self._has_stepped or not self._loses_gradients
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
            has_optimizer=any(tap.is_on for tap in self._optimizer_taps) and is_told,
            details=[*self._details.newest(), *self._routers.newest()],
        )

    @property
    def device(self) -> torch.device:
        """Where the partials of a step wait."""
        return self._device

    @property
    def dark(self) -> Mapping[str, str]:
        """Why sites are no longer watched."""
        return MappingProxyType(self._misses.dark)

    @property
    def missed(self) -> Mapping[str, str]:
        """Why sites had no reading at some step, although they are watched."""
        return MappingProxyType(self._misses.told)

    def _is_observed(self, module: nn.Module) -> bool:
        if torch.compiler.is_compiling():
            # The root may be the wrapper of the graph being compiled, which must not meet itself.
            has_gradients = torch.is_grad_enabled() or self._forwards.counts
            return self._armed and module.training and has_gradients
        return self._armed and self._forwards.counts

    def _described(self, path: str) -> str:
        return f"{type(self._modules[path]).__name__} {path}"

    def restart(self) -> None:
        """Forget what was seen of activations at this step: it was none of training's."""
        self._buffer.reset()
        self._details.reset()
        self._routers.reset()
        if self._tracer:
            self._tracer.clear()

    def mark(self) -> None:
        """Remember what was seen of activations at this step so far."""
        self._buffer.mark()

    def rewind(self) -> None:
        """Forget what was seen of activations since ``mark``."""
        self._buffer.rewind()

    def _close_modes(self) -> None:
        """Leave no forward open: an interrupt ends one without its hooks."""
        self._forwards.close()
        if self._tracer:
            self._tracer.close()
        for tap in self._taps:
            if isinstance(tap, AttentionTap):
                tap.close()
        for router in self._routers.taps:
            router.close()

    def _end_misses(self) -> None:
        """Let sites that have failed for long go dark."""
        if self._forwards.refused and not any(self._buffer.counts):
            self._misses.tell("the forward pass", f"it ran inside {self._forwards.refused}")
        names = {
            self.layout.sites[row].key for row in self._assembly.fired_rows if row < len(self.layout.sites)
        }
        names |= {tap.site for tap in self._details.taps if tap.newest is not None}
        if self._gradients.are_read:
            names.add(_GRADIENTS)
        self._misses.end(names)
        for tap in (*self._taps, *self._details.taps):
            site = tap.site if isinstance(tap, DetailTap) else tap.site.key
            tap.is_dark = tap.is_dark or site in self._misses.dark


def _lines(layout: Layout) -> list[str]:
    """Return the names of the sites of the stream behind each block."""
    return [site.name for site in layout.sites if site.block_role == "resid_post"]


_GRADIENTS = "gradients"
"""What stands for the reading of gradients where it fails."""

_MOST_CHANGES = 8
"""Steps on end at which a model that has changed is looked at anew."""

_CHANGING = "the model's modules or parameters are others at every step: nothing in it is watched"

_TAPS: Mapping[Role, Callable[..., Tap | AttentionTap]] = {
    Role.ATTENTION: AttentionTap,
    Role.STATISTIC: StatisticTap,
}
