"""State that a detector, or a part of one, declares once and keeps over a resumption."""

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np


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
