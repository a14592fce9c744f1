"""What of ours stands on a user's modules, parameters and optimizers; copies of these are free of it."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any, Protocol

from torch import nn
from torch.utils.hooks import RemovableHandle

from stabilitykit.guard import described, say

_REGISTRIES = ("_forward_hooks", "_forward_pre_hooks")
_REMARKS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")

Registry = OrderedDict[int, Any]


class Handle(Protocol):
    """What removes a hook."""

    def remove(self) -> None:
        """Remove it; may be called twice."""


def _nothing(*_: Any) -> None:
    """Stand in a copy for what watches the original."""


class Hook:
    """A hook of ours: calls a function. Its copies, and what is read of it from a file, do nothing.

    Args:
        function: What is called, with whatever the hook is.
    """

    __slots__ = ("_function", "_is_said")

    def __init__(self, function: Callable[..., Any] = _nothing) -> None:
        self._function = function
        self._is_said = False

    def __call__(self, *args: Any) -> None:
        """Call the function; what it returns would stand in place of the model's own, and is dropped."""
        try:
            self._function(*args)
        except Exception as error:  # Nothing in a monitor may end a training run.
            if not self._is_said:
                self._is_said = True
                say(f"a hook: {described(error)}; training goes on")

    def __deepcopy__(self, memo: dict[int, Any]) -> "Hook":
        return Hook()

    def __reduce__(self) -> tuple[Any, ...]:
        return Hook, ()


def hook_input(module: nn.Module, function: Callable[..., Any], *, prepend: bool = False) -> Handle:
    """Let a function see what a module is given: the module, positional and keyword arguments.

    Args:
        module: The module.
        function: What is called.
        prepend: Whether before all hooks that are there.

    Raises:
        RuntimeError: The module takes no hooks, such as a scripted one.
    """
    handle = module.register_forward_pre_hook(Hook(function), with_kwargs=True, prepend=prepend)
    return _ModuleHandle(module, handle)


def hook_output(module: nn.Module, function: Callable[..., Any], *, always_call: bool = False) -> Handle:
    """Let a function see what a module returns: the module, positional arguments, the output.

    Args:
        module: The module.
        function: What is called.
        always_call: Whether also when the forward raises.

    Raises:
        RuntimeError: The module takes no hooks, such as a scripted one.
    """
    return _ModuleHandle(module, module.register_forward_hook(Hook(function), always_call=always_call))


class _ModuleHandle:
    """Removes a hook from a module, and with the last one what hides them from copies."""

    def __init__(self, module: nn.Module, handle: RemovableHandle) -> None:
        self._module = module
        self._handle = handle
        _hide(module)

    def remove(self) -> None:
        """Remove the hook; may be called twice."""
        self._handle.remove()
        if not _own(_registries(self._module)):
            for name in (*_REGISTRIES, *_REMARKS):
                registry = getattr(self._module, name, None)
                if type(registry) is OrderedDict:
                    vars(registry).clear()


def _hide(module: nn.Module) -> None:
    """Let a module's registries be copied, pickled and scripted as if no hook of ours were in them.

    A copied hook could be made to do nothing, but it would still be there: ``torch.jit`` would refuse the
    copy, and a file with it could not be read without this package. A registry cannot be replaced, since the
    user's own handles hold it; what copies, pickles and scripts it asks the very object how.
    """
    registries = _registries(module)
    for name in (*_REGISTRIES, *_REMARKS):
        registry = getattr(module, name, None)
        # A registry of another type has no attributes; the hooks in it do nothing in a copy.
        if type(registry) is not OrderedDict or vars(registry):
            continue
        vars(registry)["__deepcopy__"] = partial(_copied, registry, registries)
        vars(registry)["__reduce_ex__"] = partial(_reduced, registry, registries)
        if name in _REGISTRIES:
            vars(registry)["values"] = partial(_shown, registry, registries)


def _registries(module: nn.Module) -> tuple[Registry, ...]:
    return tuple(getattr(module, name) for name in _REGISTRIES if hasattr(module, name))


def _own(registries: tuple[Registry, ...]) -> set[int]:
    """Return the numbers of our own hooks."""
    return {n for registry in registries for n, hook in registry.items() if isinstance(hook, Hook)}


def _foreign(registry: Registry, registries: tuple[Registry, ...]) -> list[tuple[int, Any]]:
    """Return what of a registry is not ours."""
    own = _own(registries)
    return [(number, value) for number, value in registry.items() if number not in own]


def _copied(registry: Registry, registries: tuple[Registry, ...], memo: dict[int, Any]) -> Registry:
    copy: Registry = OrderedDict()
    memo[id(registry)] = copy
    copy.update({number: deepcopy(value, memo) for number, value in _foreign(registry, registries)})
    return copy


def _reduced(registry: Registry, registries: tuple[Registry, ...], protocol: Any = None) -> tuple[Any, ...]:
    return OrderedDict, (), None, None, iter(_foreign(registry, registries))


def _shown(registry: Registry, registries: tuple[Registry, ...]) -> Iterator[Any]:
    return iter([value for _, value in _foreign(registry, registries)])
