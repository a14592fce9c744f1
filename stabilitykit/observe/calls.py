"""What one forward pass of an unknown model called, in which order, and what was handed on to what."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stabilitykit.observe.active import deactivate
from stabilitykit.observe.call import Call
from stabilitykit.observe.forwards import Forwards
from stabilitykit.observe.handed import Handed, Place, first_tensor, given_to, tensors_in
from stabilitykit.observe.heads import HeadFinder
from stabilitykit.observe.hook import Handle, hook_input, hook_output
from stabilitykit.observe.lines import Lines
from stabilitykit.observe.routers import GATES, SELECTIONS
from stabilitykit.observe.site import Site
from stabilitykit.observe.tap import Armed
from stabilitykit.stats import local, norm_and_range

_SOFTMAX = (torch.softmax, F.softmax, Tensor.softmax, torch.special.softmax)
_ATTENTION = (F.scaled_dot_product_attention, F.multi_head_attention_forward)


@dataclass(frozen=True, slots=True)
class Glance:
    """What was seen of one tensor: partials on its device, as a tap would write them."""

    norm: Tensor
    minimum: Tensor
    maximum: Tensor
    count: int


class Tracer:
    """Writes down the calls of a model's forward passes; keeps no tensor alive.

    Of everything that modules are given and return it takes the partials, so that the first step has readings
    although nobody knew yet of which sites.

    Args:
        model: The model; every module of it is hooked until ``detach``.
        armed: Whether the forward that runs through a module counts.
        forwards: Told where forwards begin and end, since any module may be the outermost.
    """

    def __init__(self, model: nn.Module, armed: Armed, forwards: Forwards) -> None:
        self.calls: list[Call] = []
        self.heads = HeadFinder()
        """What the loss of these passes was seen to take for logits."""
        self._glances: dict[tuple[int, str, Place], Glance] = {}
        self._armed = armed
        self._forwards = forwards
        self._paths = {module: path for path, module in model.named_modules()}
        self._stack: list[Call] = []
        self._made: dict[int, list[int]] = {}
        self._lines = Lines()
        self._mode: _AttentionMarker | None = None
        self._suspended: list[nn.Module] = []
        self.error: BaseException | None = None
        """What went wrong in here; after it nothing is written down."""
        closed = {module for module in self._paths if _is_closed(module)}
        # Scripted modules take no hooks.
        scripted = (module for module in self._paths if isinstance(module, torch.jit.ScriptModule))
        unseen = {inner for module in (*closed, *scripted) for inner in module.modules()}
        self._above = {m for m in self._paths if closed and not closed.isdisjoint(m.modules())}
        self._opener: Call | None = None
        self._handles = [h for module in self._paths if module not in unseen for h in self._hook(module)]

    def detach(self) -> None:
        """Remove every hook; may be called twice."""
        self.close()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._made.clear()

    def clear(self) -> None:
        """Forget what was seen: the forward was none of training."""
        self.close()
        self.calls.clear()
        self._glances.clear()
        self._made.clear()
        self._lines, self.heads = Lines(), HeadFinder()
        self.error = None

    def _hook(self, module: nn.Module) -> tuple[Handle, Handle]:
        return (
            # In front of fully_shard's hook, which hands the module another tensor than it was given.
            hook_input(module, self._on_enter, prepend=True),
            # always_call: a forward that raises must not leave the marker active.
            hook_output(module, self._on_leave, always_call=True),
        )

    def _on_enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._forwards.enter(args, kwargs)
        self._guard(self._enter, module, args, kwargs)

    def _on_leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._guard(self._leave, module, args, output)
        self._forwards.leave(output)

    def _guard(self, part: Callable[..., None], *arguments: Any) -> None:
        """Run a part so that its errors do not reach the model's forward."""
        if self.error is not None:
            return
        try:
            part(*arguments)
        except Exception as error:  # Nothing in a monitor may end a training run.
            self.error = error
            self.close()

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # While a graph is compiled a hook would become part of it, with all its Python.
        if torch.compiler.is_compiling() or not self._armed(module):
            return
        parent = self._stack[-1].number if self._stack else None
        call = Call(len(self.calls), self._paths[module], module, parent)
        value = given_to(args, kwargs)
        given = first_tensor(value)
        if given is not None:
            call.shape_in = tuple(given.shape)
            call.given = self._handed(value)
            call.sources = tuple(self._made.get(self._lines.number(given), ()))
            self._keep(call, "input", value)
        self.calls.append(call)
        self._stack.append(call)
        if self._opener is None and module not in self._above:
            self._opener = call
            self._open()
        if isinstance(module, nn.MultiheadAttention) and not module.training:
            # In evaluation it takes another path when no mode is active, which differs in the last bits.
            self._mark()
            self._suspended.append(module)
            self._close_mode()

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not self._stack or self._stack[-1].module is not module:
            return
        call = self._stack.pop()
        if self._suspended and self._suspended[-1] is module:
            self._suspended.pop()
            self._open()
        if call is self._opener:
            self._opener = None
            self._close_mode()
        call.end = len(self.calls)
        returned = first_tensor(output)
        if returned is not None:
            call.shape_out = tuple(returned.shape)
            call.returned = self._handed(output, with_terms=True)
            self._made.setdefault(self._lines.number(returned), []).append(call.number)
            self._keep(call, "output", output)
            self.heads.mark(call, returned)
        if not self._stack:
            self.close()

    def glances(self, site: Site) -> Iterator[Glance]:
        """Yield what was seen at a site, a call at a time."""
        for call in _at_turn(self.calls, site):
            if (call.number, site.side, site.place) in self._glances:
                yield self._glances[call.number, site.side, site.place]

    def _keep(self, call: Call, side: str, value: Any) -> None:
        """Keep glances at the tensors of a value: of the first, and of a block's others too."""
        first = first_tensor(value)
        if first is not None:
            self._glance((call.number, side, ()), first)
        if any(call.module.children()):
            for place, x in tensors_in(value):
                if x is not first and x.dim() > 1:
                    self._glance((call.number, side, place), x)

    @torch.no_grad()
    def _glance(self, key: tuple[int, str, Place], x: Tensor) -> None:
        # Of odd tensors (nested, sparse) there may be no norm; where they go is known all the same.
        with suppress(Exception):
            x = local(x.detach())
            if x.is_floating_point() and x.numel():
                self._glances[key] = Glance(*norm_and_range(x), x.numel())

    def _handed(self, value: Any, with_terms: bool = False) -> tuple[Handed, ...]:
        return tuple(
            Handed(
                place,
                self._lines.number(x),
                tuple(x.shape),
                x.is_floating_point(),
                self._lines.terms(x) if with_terms else frozenset(),
            )
            for place, x in tensors_in(value)
        )

    def _mark(self) -> None:
        if self._stack:
            self._stack[-1].attends_from = len(self.calls)

    def _select(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if self._stack:
            # What cannot be told is no router.
            with suppress(Exception):
                self._stack[-1].choices.select(func, tuple(args), kwargs)
        for call in self._stack:
            call.choices.count += 1

    def _gate(self) -> None:
        # The gate may be a module of its own.
        for call in self._stack[-2:]:
            call.choices.gate()

    def _open(self) -> None:
        self._mode = _AttentionMarker(self._mark, self._select, self._gate, self._lines)
        self._mode.__enter__()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """End the forward that is written down: an interrupt may have ended it without its hooks."""
        self._stack.clear()
        self._suspended.clear()
        self._opener = None
        self._close_mode()

    def _close_mode(self) -> None:
        mode, self._mode = self._mode, None
        if mode is not None:
            deactivate(mode)


def _is_closed(module: nn.Module) -> bool:
    """Return whether a hook in a module, or a mode around it, would change its output: torch's fast path."""
    return isinstance(module, nn.TransformerEncoderLayer) and not module.training


def _at_turn(calls: Sequence[Call], site: Site) -> Iterator[Call]:
    """Yield the calls of a site's module that are the site's: one a pass, or all where it has no turn."""
    turns: dict[int | None, int] = {}
    for call in calls:
        if call.path != site.module:
            continue
        above = call.parent
        while site.caller is not None and above is not None and calls[above].path != site.caller:
            above = calls[above].parent
        turn = turns[above] = turns.get(above, -1) + 1
        if site.caller is None or turn == site.call:
            yield call


class _AttentionMarker(TorchFunctionMode):
    """Notes when attention, or a softmax over three axes or more, is computed, what is added, what is chosen.

    The softmax of a router or a gate is none of attention: what it is taken of was multiplied by weights.
    """

    def __init__(
        self,
        mark: Callable[[], None],
        select: Callable[..., None],
        gate: Callable[[], None],
        lines: Lines,
    ) -> None:
        super().__init__()
        self._mark = mark
        self._select = select
        self._gate = gate
        self._lines = lines

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        # What is compiled on its own must not have this in its graph.
        if torch.compiler.is_compiling():
            if func in _ATTENTION:
                self._mark()
            return func(*args, **kwargs)
        # What is odd is not looked at: the model's own call runs all the same.
        with suppress(Exception):
            if func in _ATTENTION or (func in _SOFTMAX and self._is_attention(args, kwargs)):
                self._mark()
            if func in SELECTIONS:
                with torch._C.DisableTorchFunction():
                    self._select(func, args, kwargs)
            elif func in GATES:
                self._gate()
        output = func(*args, **kwargs)
        with suppress(Exception):
            self._lines.note(func, args, kwargs, output)
        return output

    def _is_attention(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        x = args[0] if args else kwargs["input"]
        return x.dim() >= 3 and not self._lines.is_projected(x)
