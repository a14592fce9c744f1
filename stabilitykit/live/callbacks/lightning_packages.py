"""The two packages that Lightning comes in: ``lightning`` and ``pytorch_lightning``."""

import logging
import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def callback_class() -> type:
    """Return the class of callbacks of the package that is loaded, of both where both are.

    Where none is, the one that is installed is loaded. A Trainer takes callbacks of the other package too,
    but checks of types, such as a command line's, do not.
    """
    loaded = [sys.modules[name] for name in _PACKAGES if sys.modules.get(name)] or [_installed()]
    found: list[type] = [package.Callback for package in loaded]
    return found[0] if len(found) == 1 else type("Callback", tuple(found), {})


def _installed() -> ModuleType:
    first, other = _PACKAGES
    try:
        return import_module(first)
    except ModuleNotFoundError:
        with suppress(ModuleNotFoundError):
            return import_module(other)
        raise


def is_lightning(function: Any) -> bool:
    """Return whether a function is one of Lightning's own.

    Args:
        function: A function or method.
    """
    return f"{getattr(function, '__module__', '')}.".startswith(tuple(f"{name}." for name in _PACKAGES))


def say(trainer: Any, line: str) -> None:
    """Say a line where a Trainer's package says its own.

    Args:
        trainer: The Trainer.
        line: What to say.
    """
    homes = (name for kind in type(trainer).__mro__ for name in _PACKAGES if kind.__module__.startswith(name))
    logging.getLogger(f"{next(homes, _PACKAGES[0])}.utilities.rank_zero").info(line)
