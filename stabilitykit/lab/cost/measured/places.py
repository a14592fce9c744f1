"""Mark in the profiler's record which place of a model every kernel is called from."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any, NamedTuple

from torch import nn
from torch.autograd.profiler import record_function
from torch.overrides import TorchFunctionMode

PLACE = "stabilitykit.place:"
"""Begins the names of the ranges."""

_LIBRARIES = ("torch", "jaxtyping", "beartype", "contextlib")
"""Whose functions call torch for somebody else."""


class Place(NamedTuple):
    """Where a model calls torch."""

    path: str
    """Path of the innermost module that is running; empty outside of all."""
    module: nn.Module | None
    """That module."""
    entered: str
    """Path of the module that began last, and may have ended."""
    function: str = ""
    """The function of torch that is called; empty for a module as a whole."""
    room: str = ""
    """Python module of the function that calls it."""
    caller: str = ""
    """Qualified name of that function."""


Namer = Callable[[Place], str | None]
"""Gives the operation that a place belongs to; None where it cannot tell."""

Span = Callable[[str], AbstractContextManager[object]]
"""Opens what stays open while an operation of that name runs."""


class _Places(TorchFunctionMode):
    """Opens a span around every call of torch from Python, and around every module that has a name."""

    def __init__(self, model: nn.Module, namer: Namer, span: Span) -> None:
        super().__init__()
        self._namer, self._span = namer, span
        self._paths = {module: path for path, module in model.named_modules()}
        self._running: list[tuple[str, nn.Module, AbstractContextManager[object] | None]] = []
        self._entered = ""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        called = func.__name__
        if called in ("__get__", "__set__"):
            return func(*args, **(kwargs or {}))
        frame = _caller(sys._getframe(1))
        room = frame.f_globals.get("__name__", "")
        # What a function defines inside itself is its own.
        caller = frame.f_code.co_qualname.partition(".<locals>")[0]
        path, module = self._innermost()
        name = self._namer(Place(path, module, self._entered, called, room, caller))
        if name is None:
            return func(*args, **(kwargs or {}))
        with self._span(name):
            return func(*args, **(kwargs or {}))

    def begin(self, module: nn.Module, *_ignored: object) -> None:
        """Open the span of a module."""
        self._entered = self._paths[module]
        name = self._namer(Place(self._entered, module, self._entered))
        opened = None if name is None else self._span(name)
        if opened is not None:
            opened.__enter__()
        self._running.append((self._entered, module, opened))

    def end(self, module: nn.Module, *_ignored: object) -> None:
        """Close it."""
        opened = self._running.pop()[2]
        if opened is not None:
            opened.__exit__(None, None, None)

    def _innermost(self) -> tuple[str, nn.Module | None]:
        if not self._running:
            return "", None
        path, module, _ = self._running[-1]
        return path, module


def profiler_range(name: str) -> AbstractContextManager[object]:
    """Return the range in the profiler's record that an operation's calls lie in.

    Args:
        name: The operation.
    """
    return record_function(PLACE + name)


@contextmanager
def marked(model: nn.Module, namer: Namer, span: Span = profiler_range) -> Iterator[None]:
    """Mark the places of a model's calls of torch, in forward and in whatever calls torch besides.

    Args:
        model: The model; compiled code is one place, that of the module that holds it.
        namer: Gives each place its operation.
        span: What is opened around each.
    """
    places = _Places(model, namer, span)
    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(places.begin, prepend=True))
        handles.append(module.register_forward_hook(places.end, always_call=True))
    try:
        with places:
            yield
    finally:
        for handle in handles:
            handle.remove()


def _caller(frame: FrameType) -> FrameType:
    """Return the innermost frame that calls torch for itself: no library's, and no other mode's."""
    found: FrameType = frame
    while found.f_back is not None and _calls_for_another(found):
        found = found.f_back
    return found


def _calls_for_another(frame: FrameType) -> bool:
    room = frame.f_globals.get("__name__", "")
    # A module of torch is a caller like any other: what is above it is not in the module.
    if room.startswith("torch.nn.modules"):
        return False
    return room.partition(".")[0] in _LIBRARIES or frame.f_code.co_name == "__torch_function__"
