"""Taps on activations and output logits: forward hooks that reduce a tensor where it is."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stabilitykit.observe.handed import given_to, tensor_at
from stabilitykit.observe.hook import Handle, hook_input, hook_output
from stabilitykit.observe.partials import COUNT, MAXIMUM, MINIMUM, NORM, SUM, PartialBuffer
from stabilitykit.observe.site import Role, Site
from stabilitykit.observe.turns import Turn
from stabilitykit.stats import local, mean_log_z, norm_and_range, write_norm_and_range

Armed = Callable[[nn.Module], bool]
"""Whether the forward that runs through a module belongs to a step that is observed."""

OnError = Callable[[str, BaseException], None]
"""Told the site and the error when a tap fails: it has no reading at this step."""


class Tap:
    """What is attached to a site: writes one row of the buffer each armed forward."""

    def __init__(self, site: Site, row: int, buffer: PartialBuffer, armed: Armed, on_error: OnError) -> None:
        self.site = site
        self._row = row
        self._buffer = buffer
        self._slots = tuple(buffer.rows[row])
        self._armed = armed
        self._on_error = on_error
        self.turn = Turn(site, None)
        """Which calls of the module are the site's."""
        self.is_dark = False
        """Whether it sees nothing any more."""
        self._write = self._write_log_z if site.role is Role.LOGITS else self._write_activation

    def attach(self, module: nn.Module) -> list[Handle]:
        """Hook the module; the handles remove the tap."""
        if self.site.side == "input":
            return [hook_input(module, self._on_input)]
        return [hook_output(module, self._on_output)]

    def _on_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._see(module, given_to(args, kwargs))

    def _on_output(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._see(module, output)

    def _see(self, module: nn.Module, value: Any) -> None:
        if self.is_dark or not self._armed(module) or not self.turn.is_now():
            return
        try:
            tensor = tensor_at(value, self.site.place)
            tensor = tensor if tensor is None else local(tensor)
            if tensor is not None and tensor.is_floating_point() and tensor.numel():
                self._write(tensor)
        except Exception as error:  # Nothing in a monitor may end a training run.
            # What is half written must not be read.
            self._buffer.spoil(self._row)
            self._on_error(self.site.key, error)

    def _write_activation(self, x: Tensor) -> None:
        if torch.compiler.is_compiling():
            # In a graph nothing may depend on state of the host that changes from step to step.
            self._buffer.fold(self._row, *norm_and_range(x.detach()), x.numel())
            return
        self._buffer.begin(self._row, x.numel())
        if not self._buffer.copy_if_same(x, self._row):
            write_norm_and_range(x.detach(), self._slots[NORM], self._slots[MINIMUM], self._slots[MAXIMUM])
            self._buffer.remember(x, self._row)

    def _write_log_z(self, logits: Tensor) -> None:
        if torch.compiler.is_compiling():
            self._buffer.rows[self._row, SUM] += mean_log_z(logits.detach(), self.site.dim)
            self._buffer.rows[self._row, COUNT] += 1
            return
        self._buffer.begin(self._row, 1)
        self._slots[SUM].copy_(mean_log_z(logits.detach(), self.site.dim))
