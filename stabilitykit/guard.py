"""The one way in which errors of the monitor's own are kept from the training that it watches."""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar

from stabilitykit.errors import ConfigError, IncidentError

log = logging.getLogger("stabilitykit")

T = TypeVar("T")
C = TypeVar("C", bound=type)

PATIENCE = 3
"""Failures in a row after which a part is off: one call that cannot be read is missing, and no more."""


class Guard:
    """Runs a part so that its errors end nothing: the first is said, and after some in a row the part is off.

    What somebody asked for passes: ``IncidentError``, and what is no ``Exception``, such as an interrupt.

    Args:
        name: What a line of the log calls the part.
        limit: Failures in a row after which it is off; None for never.
        passes: More errors that pass, such as those of bad arguments where something is built.
        on_off: Called in place of the line that says why it is off.
    """

    def __init__(
        self,
        name: str,
        limit: int | None = PATIENCE,
        passes: tuple[type[Exception], ...] = (),
        on_off: Callable[[Exception], None] | None = None,
    ) -> None:
        self._name, self.limit = name, limit
        self._passes: tuple[type[Exception], ...] = (IncidentError, *passes)
        self._on_off = on_off
        self._in_a_row = 0
        self._is_said = False
        self.why = ""
        """Why it is off; empty while it is not."""

    def __call__(self, work: Callable[[], T], otherwise: T) -> T:
        """Return what some work returns, or ``otherwise`` where it fails or the part is off."""
        if self.why:
            return otherwise
        try:
            found = work()
        except self._passes:
            raise
        except Exception as error:  # Nothing in a monitor may end a training run.
            self._fail(error)
            return otherwise
        self._in_a_row = 0
        return found

    def _fail(self, error: Exception) -> None:
        self._in_a_row += 1
        if self.limit is not None and self._in_a_row >= self.limit:
            self.why = described(error)
            if self._on_off is None:
                say(f"{self._name} is off: {self.why}")
            else:
                with suppress(Exception):
                    self._on_off(error)
        elif not self._is_said:
            self._is_said = True
            say(f"{self._name}: {described(error)}; training goes on")


def described(error: BaseException) -> str:
    """Return an error in one line; one that cannot tell its own text is named alone."""
    try:
        return " ".join(f"{type(error).__name__}: {error}".split())
    except Exception:
        return type(error).__name__


def say(text: str) -> None:
    """Log a warning; a logger that fails is no reason to end training."""
    with suppress(Exception):
        log.warning("%s", text)


_BEGINNINGS = ("on_fit_start", "on_train_begin", "on_step_begin")


def ends_no_training(callback: C) -> C:
    """Guard every hook of a trainer's callback; at the beginning of training bad arguments are still told.

    Args:
        callback: The class; its own methods that a trainer calls are replaced.
    """
    for name, method in list(vars(callback).items()):
        if name.startswith("on_") or name in ("setup", "teardown", "load_state_dict"):
            setattr(callback, name, _guarded(method, None, (ConfigError,) if name in _BEGINNINGS else ()))
        elif name == "state_dict":
            setattr(callback, name, _guarded(method, {}, ()))
    return callback


def _guarded(
    method: Callable[..., Any], otherwise: Any, passes: tuple[type[Exception], ...]
) -> Callable[..., Any]:
    name = method.__name__

    @wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        guards = vars(self).setdefault("_guards", {})
        if name not in guards:
            guards[name] = Guard(f"{type(self).__name__}.{name}", limit=None, passes=passes)
        return guards[name](lambda: method(self, *args, **kwargs), otherwise)

    return run
