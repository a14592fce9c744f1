"""What steps: an optimizer of any library with those that it wraps, and when its steps begin and end."""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from stabilitykit.errors import ConfigError
from stabilitykit.observe.hook import Hook

log = logging.getLogger("stabilitykit")

_DEEPEST = 4
"""How many wrappers are looked into."""


class Removable(Protocol):
    """Something that was attached."""

    def remove(self) -> None:
        """Take it away; may be called twice."""


def _nothing(*_: Any) -> None:
    """Hear nothing."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What is told of steps; one that raises is told no more."""

    began: Callable[[], None] = _nothing
    """The step of the whole begins."""
    use: Callable[[], None] = _nothing
    """An innermost optimizer takes the gradients as they are now; those of a closure at its end."""
    used: Callable[[], None] = _nothing
    """An innermost optimizer has stepped, inside the step of the whole."""
    ended: Callable[[bool], None] = _nothing
    """The step of the whole has ended; whether an innermost optimizer has stepped in it."""


def optimizers_of(given: Any) -> list[Any]:
    """Return the optimizers that were given, each once: one, several, by name, or none.

    Args:
        given: Anything with ``step`` and ``param_groups``, a sequence or mapping of such, or None.

    Raises:
        ConfigError: Something else was given.
    """
    if given is None:
        return []
    if is_optimizer(given):
        return [given]
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, Iterable) and not isinstance(given, Tensor | str | bytes):
        found = list(given)
        if all(is_optimizer(each) for each in found):
            return list({id(each): each for each in found}.values())
        given = next(each for each in found if not is_optimizer(each))
    raise ConfigError(
        f"optimizer: got {type(given).__name__}; accepted are an optimizer (anything with step and "
        "param_groups), several of them, or None"
    )


def is_optimizer(each: Any) -> bool:
    """Return whether something has the two attributes of an optimizer, whatever library it is of."""
    if isinstance(each, type):
        return False
    try:
        return callable(getattr(each, "step", None)) and _is_groups(getattr(each, "param_groups", None))
    except Exception:  # Any attribute of a foreign object may raise.
        return False


def _is_groups(groups: Any) -> bool:
    return isinstance(groups, list | tuple) and all(isinstance(g, Mapping) and "params" in g for g in groups)


class Stepper:
    """An optimizer and those that it wraps, whose steps are one step.

    What a wrapper does around the inner optimizer's step is a part of it (Lookahead), and so is what the
    inner one does where the wrapper's own ``step`` is never called (SAM). A wrapper's call in which no inner
    optimizer steps, such as in gradient accumulation, is told apart.

    Args:
        optimizer: The outermost: anything with ``step`` and ``param_groups``.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.members: tuple[Any, ...] = tuple(_with_inner(optimizer))
        """The optimizer, then those inside it."""
        ids = {id(each) for each in self.members}
        leaves = {id(m) for m in self.members if not any(id(i) in ids for i in _inside(m))}
        # Two that hold each other have no innermost.
        self._leaves = leaves or {id(self.members[-1])}
        self._nests: list[_Nest] = []

    def holds(self, optimizer: Any) -> bool:
        """Return whether this is it, or wraps it."""
        return any(each is optimizer for each in self.members)

    @property
    def groups(self) -> Sequence[Mapping[str, Any]]:
        """The parameter groups."""
        found: Sequence[Mapping[str, Any]] = self.optimizer.param_groups
        return found

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters it has at present."""
        return [p for group in self.groups for p in group["params"]]

    @property
    def states(self) -> list[Mapping[Any, Any]]:
        """What the members keep of their parameters, the innermost first."""
        found = [getattr(each, "state", None) for each in reversed(self.members)]
        return [state for state in found if isinstance(state, Mapping)]

    @property
    def inner_groups(self) -> Iterator[Mapping[str, Any]]:
        """The parameter groups of all members, the innermost last: theirs are the constants that hold."""
        return (group for each in self.members for group in each.param_groups)

    def forget(self) -> None:
        """Forget steps that have begun and not ended, since they have raised."""
        for nest in self._nests:
            nest.forget()

    def attach(self, listener: Listener) -> list[Removable]:
        """Tell of every step from here on.

        Members that torch's hooks do not reach have their ``step`` replaced, on the instance.

        Args:
            listener: What is told.

        Raises:
            AttributeError: A member lets its ``step`` not be replaced.
        """
        nest = _Nest(self._leaves, listener)
        self._nests.append(nest)
        handles: list[Removable] = []
        try:
            for each in self.members:
                if _has_hooks(each):
                    handles.append(each.register_step_pre_hook(Hook(nest.before_hook)))
                    handles.append(each.register_step_post_hook(Hook(nest.after_hook)))
                else:
                    handles.append(_Replaced(each, nest))
        except Exception:
            for handle in handles:
                handle.remove()
            raise
        return handles


class _Nest:
    """Which members are stepping, one inside the other."""

    def __init__(self, leaves: set[int], listener: Listener) -> None:
        self._leaves, self._listener = leaves, listener
        self._open: list[tuple[int, bool]] = []
        self._has_stepped = False

    def begin(self, member: Any, has_closure: bool) -> None:
        """Note that a member's step begins."""
        me = id(member)
        if not self._open:
            self._has_stepped = False
            self._tell(self._listener.began)
        self._open.append((me, has_closure))
        if me in self._leaves and not has_closure:
            self._tell(self._listener.use)

    def end(self, member: Any) -> None:
        """Note that a member's step has ended."""
        me = id(member)
        # A class whose step calls that of the class it is made from is heard twice, one inside the other;
        # what is open above this one has raised.
        at = next((at for at in reversed(range(len(self._open))) if self._open[at][0] == me), None)
        if at is None:
            return
        has_closure = self._open[at][1]
        del self._open[at:]
        if me in self._leaves:
            self._has_stepped = True
            if has_closure:
                self._tell(self._listener.use)
            if self._open:
                self._tell(self._listener.used)
        if not self._open:
            self._tell(partial(self._listener.ended, self._has_stepped))

    def _tell(self, part: Callable[[], None]) -> None:
        try:
            part()
        except Exception as error:  # Nothing in a monitor may end a training run.
            self._listener = Listener()
            log.warning("an optimizer's steps are heard no more: %s: %s", type(error).__name__, error)

    def forget(self) -> None:
        """Take no step as open any more."""
        self._open.clear()

    def before_hook(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hear torch's hook, whose first argument is the optimizer once more."""
        self.begin(optimizer, _has_closure(args[1:], kwargs))

    def after_hook(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hear torch's hook."""
        self.end(optimizer)


class _Replaced:
    """A ``step`` that tells of itself, in place of the one of an instance.

    It is a bound method as the one before, so it is pickled by its name, a copy of the optimizer gets its
    own, and schedulers may wrap it in turn.
    """

    def __init__(self, owner: Any, nest: _Nest) -> None:
        self._owner, self._nest = owner, nest
        before, begin, end = owner.step, Hook(nest.begin), Hook(nest.end)
        self._had_own = "step" in getattr(owner, "__dict__", {})
        self._before, is_on = before, [True]
        self._is_on = is_on

        @functools.wraps(before)
        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            if self is not owner:
                return type(self).step(self, *args, **kwargs)
            if not is_on[0]:
                return before(*args, **kwargs)
            begin(self, _has_closure(args, kwargs))
            result = before(*args, **kwargs)
            end(self)
            return result

        self._step = MethodType(step, owner)
        owner.step = self._step

    def remove(self) -> None:
        """Put back what was there, or fall silent where something else was put around it since."""
        self._is_on[0] = False
        if getattr(self._owner, "__dict__", {}).get("step") is not self._step:
            return
        if self._had_own:
            self._owner.step = self._before
        else:
            del self._owner.step


def _has_closure(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return kwargs.get("closure", args[0] if args else None) is not None


def _has_hooks(optimizer: Any) -> bool:
    """Return whether torch's own hooks see the steps: a wrapper may be an ``Optimizer`` by name only."""
    is_made = isinstance(optimizer, Optimizer) and hasattr(optimizer, "_optimizer_step_post_hooks")
    return is_made and bool(getattr(type(optimizer).step, "hooked", False))


def _with_inner(optimizer: Any) -> Iterator[Any]:
    """Yield an optimizer and those inside it, each once, the outer first."""
    found, level = {id(optimizer): optimizer}, [optimizer]
    yield optimizer
    for _ in range(_DEEPEST):
        level = [each for outer in level for each in _inside(outer) if id(each) not in found]
        level = list({id(each): each for each in level}.values())
        found |= {id(each): each for each in level}
        yield from level


def _inside(outer: Any) -> list[Any]:
    """Return the optimizers that one holds, and that have parameters of its own."""
    own = {id(p) for group in outer.param_groups for p in group["params"]}
    held: list[Any] = []
    for name, value in list(getattr(outer, "__dict__", {}).items()):
        if name in ("state", "param_groups", "defaults"):
            continue
        several = value.values() if isinstance(value, dict) else value
        held += [value, *(several if isinstance(value, list | tuple | dict) else ())]
    found = [each for each in held if each is not outer and is_optimizer(each)]
    return [each for each in found if own & {id(p) for group in each.param_groups for p in group["params"]}]
