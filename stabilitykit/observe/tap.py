"""Taps on activations and output logits: forward hooks that reduce a tensor where it is."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stabilitykit.observe.hook import Handle, hook_input, hook_output
from stabilitykit.observe.partials import COUNT, MAXIMUM, MINIMUM, NORM, SUM, PartialBuffer
from stabilitykit.observe.site import Role, Site
from stabilitykit.stats import local, mean_log_z, norm_and_range, write_norm_and_range

Armed = Callable[[nn.Module], bool]
"""Whether the forward that runs through a module belongs to a step that is observed."""

OnError = Callable[[str, BaseException], None]
"""Told the site and the error when a tap fails: it has no reading at this step."""


def first_tensor(value: Any) -> Tensor | None:
    """Return the first tensor in nested tuples, lists and mappings, depth first."""
    if isinstance(value, Tensor):
        return value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return next((found for child in children if (found := first_tensor(child)) is not None), None)


class Tap:
    """What is attached to a site: writes one row of the buffer each armed forward."""

    def __init__(self, site: Site, row: int, buffer: PartialBuffer, armed: Armed, on_error: OnError) -> None:
        self.site = site
        self._row = row
        self._buffer = buffer
        self._slots = tuple(buffer.rows[row])
        self._armed = armed
        self._on_error = on_error
        self._calls = 0
        self.is_dark = False
        """Whether it sees nothing any more."""
        self._write = self._write_log_z if site.role is Role.LOGITS else self._write_activation

    def attach(self, module: nn.Module) -> list[Handle]:
        """Hook the module; the handles remove the tap."""
        if self.site.side == "input":
            return [hook_input(module, self._on_input)]
        return [hook_output(module, self._on_output)]

    def _on_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._see(module, args or kwargs)

    def _on_output(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._see(module, output)

    def _see(self, module: nn.Module, value: Any) -> None:
        if self.is_dark or not self._armed(module) or not self._is_its_turn():
            return
        try:
            tensor = first_tensor(value)
            tensor = tensor if tensor is None else local(tensor)
            if tensor is not None and tensor.is_floating_point() and tensor.numel():
                self._write(tensor)
        except Exception as error:  # Nothing in a monitor may end a training run.
            # What is half written must not be read.
            self._buffer.spoil(self._row)
            self._on_error(self.site.key, error)

    def _is_its_turn(self) -> bool:
        """Return whether a call of the module is this site's; a module may serve several in turn."""
        if self.site.of_calls == 1:
            return True
        self._calls += 1
        return (self._calls - 1) % self.site.of_calls == self.site.call

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
            self._buffer.rows[self._row, SUM] += mean_log_z(logits.detach())
            self._buffer.rows[self._row, COUNT] += 1
            return
        self._buffer.begin(self._row, 1)
        self._slots[SUM].copy_(mean_log_z(logits.detach()))
