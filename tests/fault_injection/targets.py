"""What faults are injected into, and the faults."""

import importlib
import inspect
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

ROOMS = (
    *("observe", "stats", "detect", "store"),
    *("live.monitor", "live.kept_run", "live.options", "live.loop", "live.cadence", "live.reactions"),
)
DOORS = ("live.loop.LoopMonitor", "live.loop.watch")
"""What the loop itself calls: what is raised there is the caller's."""


@dataclass(frozen=True)
class Target:
    """A public function of a module, or a public method of a class."""

    owner: Any
    """The module or the class."""
    name: str

    def __str__(self) -> str:
        module = getattr(self.owner, "__module__", None) or self.owner.__name__
        place = f"{module}.{self.owner.__name__}" if inspect.isclass(self.owner) else module
        return f"{place.removeprefix('stabilitykit.')}.{self.name}"


def targets() -> list[Target]:
    """Return all of them, in a fixed order."""
    found = [target for module in _modules() for target in _of_module(module)]
    return [target for target in found if not str(target).startswith(DOORS)]


def _modules() -> Iterator[ModuleType]:
    for room in ROOMS:
        module = importlib.import_module(f"stabilitykit.{room}")
        yield module
        for each in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
            yield importlib.import_module(each.name)


def _of_module(module: ModuleType) -> Iterator[Target]:
    for name, value in sorted(vars(module).items()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value) and not issubclass(value, BaseException):
            yield from _of_class(value)
        elif callable(value) and not inspect.isclass(value) and not name.startswith("_"):
            yield Target(module, name)


def _of_class(owner: type) -> Iterator[Target]:
    for name, value in sorted(vars(owner).items()):
        is_code = inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
        if is_code and not name.startswith("_"):
            yield Target(owner, name)


class Odd:
    """What nobody expects."""


def is_faults_own(answer: Any) -> bool:
    """Return whether an answer is what a fault answers with."""
    return isinstance(answer, Odd | float)


def _raises(error: type[Exception]) -> Callable[..., Any]:
    def fault(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        raise error("injected")

    return fault


def _hang(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    time.sleep(0.001)
    return original(*args, **kwargs)


FAULTS: dict[str, Callable[..., Any]] = {
    "Exception": _raises(RuntimeError),
    "OSError": _raises(OSError),
    "MemoryError": _raises(MemoryError),
    "NaN": lambda original, *args, **kwargs: float("nan"),
    "wrong type": lambda original, *args, **kwargs: Odd(),
    "hang": _hang,
}


class Injection:
    """One fault in one place, while it is armed."""

    def __init__(self, target: Target, fault: str | None) -> None:
        self.target, self._fault = target, FAULTS.get(fault or "")
        self.armed = False
        self.hits = 0

    @contextmanager
    def placed(self) -> Iterator["Injection"]:
        """Put it in place of the function wherever that is known, and take it away again."""
        found = vars(self.target.owner)[self.target.name]
        places = [self.target.owner]
        if inspect.ismodule(self.target.owner):
            places = [m for n, m in list(sys.modules.items()) if n.startswith("stabilitykit")]
            places = [m for m in places if vars(m).get(self.target.name) is found]
        for place in places:
            setattr(place, self.target.name, self._instead_of(found))
        try:
            yield self
        finally:
            for place in places:
                setattr(place, self.target.name, found)

    def _instead_of(self, found: Any) -> Any:
        if isinstance(found, property):
            return property(self._wrapped(found.fget))
        if isinstance(found, classmethod):
            return classmethod(self._wrapped(found.__func__))
        if isinstance(found, staticmethod):
            return staticmethod(self._wrapped(found.__func__))
        return self._wrapped(found)

    def _wrapped(self, original: Any) -> Callable[..., Any]:
        def instead(*args: Any, **kwargs: Any) -> Any:
            if not self.armed:
                return original(*args, **kwargs)
            self.hits += 1
            return (
                original(*args, **kwargs) if self._fault is None else self._fault(original, *args, **kwargs)
            )

        instead.__name__ = self.target.name
        return instead
