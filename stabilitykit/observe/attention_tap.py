"""Taps on attention: the largest logit and the entropy of whatever attention a module runs."""

from typing import Any

import torch
from torch import nn

from stabilitykit.observe.attention import AttentionMode, PendingCalls, Seen, write_readings
from stabilitykit.observe.hook import Handle, hook_input, hook_output
from stabilitykit.observe.partials import BOUND, PartialBuffer
from stabilitykit.observe.site import Site
from stabilitykit.observe.tap import Armed, OnError
from stabilitykit.observe.turns import Turn
from stabilitykit.stats import LogitRows


class AttentionTap:
    """What is attached to an attention module or to a whole block; one row of the buffer.

    A forward may hold several calls of attention (self and cross): the row keeps the smallest entropy, the
    largest logit and the sum of mean entropies, and its count says how many calls there were. They are read
    together with those of other taps when the buffer is.
    """

    def __init__(self, site: Site, row: int, buffer: PartialBuffer, armed: Armed, on_error: OnError) -> None:
        self.site = site
        self.kind = "exact or bound"
        self.is_dark = False
        """Whether it sees nothing any more."""
        self._row = row
        self._buffer = buffer
        self._pending = PendingCalls.of(buffer)
        self._armed = armed
        self._on_error = on_error
        self.turn = Turn(site, None)
        """Which calls of the module are the site's."""
        self._modes: list[AttentionMode] = []
        self._queries = 0
        self._fast: list[nn.Module] = []

    def attach(self, module: nn.Module) -> list[Handle]:
        """Hook the module; the handles remove the tap."""
        # In evaluation these take another path when no mode is active, which differs in the last bits.
        kinds = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
        self._fast = [each for each in module.modules() if isinstance(each, kinds)]
        return [
            hook_input(module, self._enter),
            # always_call: the mode must not outlive a forward that raises.
            hook_output(module, self._leave, always_call=True),
        ]

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.is_dark or not self._armed(module) or not self.turn.is_now():
            return
        if not any(_takes_fast_path(each) for each in self._fast):
            self._queries = 0
            mode = AttentionMode(self._see, self._fail, self._buffer)
            mode.open()
            self._modes.append(mode)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._modes:
            mode = self._modes.pop()
            mode.close()
            mode.finish()

    def close(self) -> None:
        """Leave no mode active: an interrupt may have ended a forward without its hooks."""
        while self._modes:
            self._modes.pop().close()

    def _see(self, seen: Seen) -> None:
        if not seen.complete:
            self.kind = "sampled"
        if not torch.compiler.is_compiling():
            # Attention may be computed in pieces: a call counts by its rows beside the first one's.
            self._queries = self._queries or seen.queries
            weight = seen.queries / self._queries if self._queries != seen.queries else 1
            self._pending.add(self._row, self.site.name, seen, self._on_error, weight)
        elif seen.is_doubtful and isinstance(seen.data, LogitRows):
            bound = self._buffer.rows[self._row, BOUND]
            torch.maximum(bound, seen.data.largest, out=bound)
        else:
            # What waits in a list would be another list at every step, and compiled anew.
            write_readings(self._buffer, [self._row], [seen], [1])

    def _fail(self, error: BaseException) -> None:
        self._buffer.spoil(self._row)
        self._on_error(self.site.name, error)


def _takes_fast_path(module: nn.Module) -> bool:
    """Return whether a module may take torch's path for inference, which an active mode would switch off."""
    learns = torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters())
    return not module.training and not learns
