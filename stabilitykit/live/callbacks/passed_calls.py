"""Methods of another object's, listened to: what they return, and what they raise."""

import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

_ABSENT = object()


class PassedCalls:
    """Methods that are listened to until ``end``; nothing of it stays on the objects.

    A method is replaced on its object alone, by something that calls it and hands on what comes of it. Copies
    and pickles of the object have the method itself.
    """

    def __init__(self) -> None:
        self._calls: list[PassedCall] = []

    def listen(
        self,
        owner: Any,
        name: str,
        returned: Callable[[Any], None] | None = None,
        raised: Callable[[], None] | None = None,
    ) -> bool:
        """Listen to a method; returns whether there is one and the object lets itself be listened to.

        Args:
            owner: Whose method it is.
            name: Of the method.
            returned: Told of what every call returns.
            raised: Told when an exception leaves a call.
        """
        try:
            call = PassedCall(owner, name, returned, raised)
            setattr(owner, name, call)
        except (AttributeError, TypeError):
            return False
        self._calls.append(call)
        return True

    def end(self) -> None:
        """Put every method back as it was; may be called twice."""
        for call in reversed(self._calls):
            call.end()
        self._calls.clear()


class PassedCall:
    """A method that is listened to, in its place on its object.

    Args:
        owner: Whose method it is.
        name: Of the method.
        returned: Told of what every call returns.
        raised: Told when an exception leaves a call.
    """

    def __init__(
        self,
        owner: Any,
        name: str,
        returned: Callable[[Any], None] | None,
        raised: Callable[[], None] | None,
    ) -> None:
        self.__wrapped__ = getattr(owner, name)
        if not callable(self.__wrapped__):
            raise TypeError(f"{name}: got {self.__wrapped__!r}; must be a method")
        self._owner, self._name = owner, name
        self._before = vars(owner).get(name, _ABSENT)
        self._returned, self._raised = returned, raised

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        try:
            result = self.__wrapped__(*args, **kwargs)
        except BaseException:
            if self._raised:
                self._raised()
            raise
        if self._returned:
            self._returned(result)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "__wrapped__"), name)

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return _itself, (self.__wrapped__,)

    def end(self) -> None:
        """Listen no more; where somebody has put something else in the place since, that stays."""
        self._returned = self._raised = None
        here = vars(self._owner)
        if here.get(self._name) is not self:
            return
        if self._before is _ABSENT:
            del here[self._name]
        else:
            here[self._name] = self._before


def _itself(method: Any) -> Any:
    return method


def caller_with(attribute: str) -> tuple[Any, CodeType] | None:
    """Return the object nearest up the stack that keeps ``attribute`` and whose code names it, and that code.

    Only methods whose code names the attribute are looked into: a look at a frame keeps what its variables
    hold alive until it returns.

    Args:
        attribute: Name of an attribute of the object.
    """
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if attribute in code.co_names and code.co_argcount:
            owner = frame.f_locals.get(code.co_varnames[0])
            if attribute in getattr(owner, "__dict__", ()):
                return owner, code
        frame = frame.f_back  # type: ignore[assignment]
    return None
