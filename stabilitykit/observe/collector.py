"""The collector: attaches taps to a model and its optimizer, and turns a step into a StepRecord."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from stabilitykit.observe.assembly import Assembly, PackedStep
from stabilitykit.observe.attention_tap import AttentionTap
from stabilitykit.observe.detail_tap import DetailTaps
from stabilitykit.observe.gradients import GradientNorms, loss_scale, read_gradient_norms
from stabilitykit.observe.locate import locate
from stabilitykit.observe.optimizer_tap import OptimizerTap
from stabilitykit.observe.partials import PartialBuffer
from stabilitykit.observe.site import Coverage, Layout, Role
from stabilitykit.observe.tap import Tap
from stabilitykit.observe.watched import Watched
from stabilitykit.records import StepRecord

_STATISTICS = {
    Role.ACTIVATION: ("act/rms", "act/max_abs", "act/nonfinite"),
    Role.ATTENTION: ("attn/logit_max", "attn/logit_max_bound", "attn/entropy", "attn/entropy_min"),
    Role.LOGITS: ("output/log_z",),
}


class Collector:
    """Observes one model in training.

    Between ``arm`` and ``collect``, taps write partials on the device; ``collect`` reads them once and
    returns the step's record. Nothing here changes a value, a gradient or the random state.

    Args:
        model: The model to watch; sites are found by name.
        optimizers: Its optimizers, for updates and learning rate.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        self.layout: Layout = locate(model)
        self._modules = dict(model.named_modules())
        parameters = dict(model.named_parameters())
        groups = {group: [parameters[n] for n in names] for group, names in self.layout.groups.items()}
        self._watched = Watched.of(groups)
        gains = {norm: parameters[name] for norm, name in self.layout.gains.items()}
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._buffer = PartialBuffer(len(self.layout.sites), device)
        self._assembly = Assembly(self.layout.sites)
        self._optimizer_taps = [OptimizerTap(o, self._watched, gains) for o in optimizers]
        self._details = DetailTaps(self.layout, self._modules, self._is_observed, self._darken)
        self._taps: list[Tap | AttentionTap] = []
        self._handles: list[RemovableHandle] = []
        self._gradients: GradientNorms | None = None
        self._scalars: dict[str, list[Tensor | float]] = {}
        self._armed = False
        self._wrote = False
        self._fired = [0] * len(self.layout.sites)
        self._dark: dict[str, str] = {}
        self.host_reads = 0
        """How often anything was read from the device: once a collected step."""

    def attach(self) -> None:
        """Hook the model and its optimizers.

        The gate comes first: it separates microbatches before any tap writes.
        """
        self._taps.clear()
        for row, site in enumerate(self.layout.sites):
            module = self._modules[site.module]
            if row == 0:
                self._handles.append(module.register_forward_pre_hook(self._begin_forward))
            kind = AttentionTap if site.role is Role.ATTENTION else Tap
            tap = kind(site, row, self._buffer, self._is_observed, self._darken)
            self._taps.append(tap)
            handles = tap.attach(module)
            self._handles.extend(handles if isinstance(handles, list) else [handles])
        self._handles.extend(self._details.attach())
        for optimizer_tap in self._optimizer_taps:
            self._handles.extend(optimizer_tap.attach())

    def detach(self) -> None:
        """Remove every hook; may be called twice. What was watched, and how, is still told."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def arm(self, on: bool = True, detail: bool = False) -> None:
        """Observe training forwards and optimizer steps from here on, or stop to.

        Args:
            on: Whether to observe.
            detail: Whether to take the dearer statistics too.
        """
        self._armed = on
        self._details.armed = detail
        for tap in self._optimizer_taps:
            tap.armed = on

    def read_gradients(self, scaler: GradScaler | None = None) -> None:
        """Take the gradients' norms as they are now; call it before clipping.

        Args:
            scaler: The loss scaler whose factor the gradients still carry; none of unscaled ones.
        """
        if self._armed:
            scale = loss_scale(scaler)
            self._gradients = read_gradient_norms(self._watched, scale)
            if scale is not None:
                self.add_scalars({"optim/loss_scale": scale})

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
        packed = self._pack()
        self.host_reads += 1
        numbers = packed.vector(self._buffer.rows.device).cpu().double().numpy()
        record = self._assembly.record(step, packed, numbers)
        for row, count in enumerate(self._buffer.counts):
            self._fired[row] += count > 0
        self.reset()
        return record

    def reset(self) -> None:
        """Forget a step that is not collected."""
        self._buffer.reset()
        self._scalars.clear()
        self._gradients = None
        self._wrote = False
        self._details.reset()
        for tap in self._optimizer_taps:
            tap.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step's readings need of this one's: a sample of the gradients."""
        return {"optimizers": [tap.state_dict() for tap in self._optimizer_taps]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        for tap, own in zip(self._optimizer_taps, state["optimizers"], strict=False):
            tap.load_state_dict(own)

    def coverage(self) -> list[Coverage]:
        """Return how each site is watched, and what is not watched and why."""
        kinds = {tap.site.name: tap.kind for tap in self._taps if isinstance(tap, AttentionTap)}
        rows = [
            Coverage(
                site=site.name,
                kind={Role.LOGITS: "sampled"}.get(site.role, kinds.get(site.name, "exact")),
                module=f"{self._described(site.module)} ({site.side})",
                statistics=_STATISTICS[site.role],
                fired=fired,
                dark=self._dark.get(site.name, ""),
            )
            for site, fired in zip(self.layout.sites, self._fired, strict=True)
        ]
        rows += [
            Coverage(group, "exact", f"{len(names)} parameters", ("grad/norm", "grad/share"))
            for group, names in self.layout.groups.items()
        ]
        rows += [row for tap in self._optimizer_taps for row in tap.coverage()]
        rows += self._details.coverage(self._described, self._dark)
        gains = self.layout.gains.items()
        return rows + [Coverage(norm, "exact", name, ("norm/gain_rms",)) for norm, name in gains]

    def _pack(self) -> PackedStep:
        """Join everything that waits on the device into one vector."""
        means = {tag: _mean(values) for tag, values in self._scalars.items()}
        on_device = {tag: value for tag, value in means.items() if isinstance(value, Tensor)}
        floats = {tag: value for tag, value in means.items() if not isinstance(value, Tensor)}
        steps = tuple(tap.step for tap in self._optimizer_taps if tap.step is not None)
        if steps and isinstance(steps[0].lr, Tensor):
            on_device["optim/lr"] = steps[0].lr
        elif steps and steps[0].lr is not None:
            floats["optim/lr"] = float(steps[0].lr)
        return PackedStep(
            partials=self._buffer.partials(),
            counts=tuple(self._buffer.counts),
            scalars=on_device,
            gradients=self._gradients,
            steps=steps if any(tap.is_on for tap in self._optimizer_taps) else None,
            floats=floats,
            details=tuple(self._details.newest()),
        )

    def _begin_forward(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Fold the previous microbatch away before this one is written."""
        if self._is_observed(module):
            if self._wrote:
                self._buffer.merge()
            self._wrote = True

    def _is_observed(self, module: nn.Module) -> bool:
        # Inside a backward pass a forward is a recomputation (activation checkpointing): already counted.
        return self._armed and module.training and torch._C._current_graph_task_id() == -1

    def _described(self, path: str) -> str:
        return f"{type(self._modules[path]).__name__} {path}"

    def _darken(self, site: str, error: BaseException) -> None:
        self._dark.setdefault(site, f"{type(error).__name__}: {error}")


def _mean(values: list[Tensor | float]) -> Tensor | float:
    if isinstance(values[0], Tensor):
        return (
            torch.stack([torch.as_tensor(v) for v in values]).float().mean() if len(values) > 1 else values[0]
        )
    return float(sum(float(v) for v in values) / len(values))
