"""State that a detector, or a part of one, declares once and keeps over a resumption."""

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, ClassVar, TypeVar

import numpy as np

from stabilitykit.guard import described

T = TypeVar("T")


class Stateful:
    """Keeps the attributes that ``state`` names, and those of its base classes.

    An attribute may be a number, a text, None, a list, a mapping, a deque, a row of numbers, a dataclass, or
    ``Stateful`` itself. Its name in the state is without the underscore.

    Example:
        >>> class Count(Stateful):
        ...     state = ("seen",)
        ...     def __init__(self):
        ...         self._seen = 3
        >>> Count().state_dict()
        {'seen': 3}
    """

    state: ClassVar[tuple[str, ...]] = ()
    """Names of attributes, without a leading underscore."""

    def state_dict(self) -> Any:
        """Return all state as plain JSON types."""
        return {name: _saved(getattr(self, attribute)) for name, attribute in self._kept()}

    def load_state_dict(self, state: Any) -> None:
        """Take up the state that ``state_dict`` returned.

        Raises:
            KeyError: Something is missing.
        """
        for name, attribute in self._kept():
            setattr(self, attribute, _loaded(getattr(self, attribute), state[name]))
        self.restored()

    def restored(self) -> None:
        """Work out anew what follows from a state that was just taken up."""

    def _kept(self) -> list[tuple[str, str]]:
        names = [name for base in reversed(type(self).__mro__) for name in vars(base).get("state", ())]
        return [(name, name if name in vars(self) else f"_{name}") for name in names]


def _saved(value: Any) -> Any:
    if isinstance(value, Stateful):
        return value.state_dict()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    return [_saved(entry) for entry in value] if isinstance(value, deque | list | tuple) else value


def _loaded(now: Any, state: Any) -> Any:
    """Return what an attribute becomes; what it is now tells its type."""
    if isinstance(now, Stateful):
        now.load_state_dict(state)
        return now
    if isinstance(now, np.ndarray):
        return np.array(state, dtype=now.dtype)
    if isinstance(now, deque):
        return deque(state, now.maxlen)
    if dataclasses.is_dataclass(now) and not isinstance(now, type):
        return type(now)(**state)
    if isinstance(now, Mapping):
        return dict(state)
    return list(state) if isinstance(now, list) else state


class StateParts:
    """Reads a kept state part by part; what is missing or damaged is noted and begins anew.

    Args:
        state: The state, which may be another version's, or anything at all.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state
        self.unread: list[str] = []
        """What could not be read, and why."""

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def read(self, name: str, read: Callable[[Any], T], otherwise: T) -> T:
        """Return a part as ``read`` makes it, or what stands for it where that fails."""
        try:
            return read(self._state[name])
        except Exception as error:  # A damaged state may hold anything.
            self.unread.append(f"{name}: {described(error)}")
            return otherwise


def plain(value: Any) -> Any:
    """Return a state as numbers, texts, lists and mappings alone: what every reader of checkpoints takes.

    Args:
        value: Such a value, or one of NumPy or of an enumeration.

    Raises:
        TypeError: It holds something else.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | deque):
        return [plain(each) for each in value]
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"a state holds {type(value).__name__}; accepted: numbers, texts, lists and mappings")
