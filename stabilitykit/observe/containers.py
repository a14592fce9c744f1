"""Where a model keeps modules one after another, whether or not they have run."""

import re
from collections.abc import Iterator, Mapping

from torch import nn

_NUMBER = re.compile(r"\d+")


def pattern(path: str) -> str:
    """Return a path with a sign for each number in it."""
    return _NUMBER.sub("#", path)


def paths_above(path: str) -> Iterator[str]:
    """Yield a path and all those above it."""
    parts = path.split(".")
    return (".".join(parts[:n]) for n in range(len(parts), 0, -1))


class Containers:
    """The modules of a model by path, and what stands beside each.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules: Mapping[str, nn.Module] = dict(model.named_modules())
        self._makes: dict[str, tuple[tuple[str, type[nn.Module]], ...]] = {}

    def siblings(self, path: str) -> list[str]:
        """Return the paths, as registered, that differ from one in the number that it has in its container.

        A module that another one wraps, as in ``layers.3.module``, stands beside those wrapped alike.
        """
        above, key, below = _split(path)
        container = self.modules.get(above)
        if container is None or not key:
            return [path]
        keys = [name for name, _ in container.named_children() if pattern(name) == pattern(key)]
        beside = [".".join(part for part in (above, name, below) if part) for name in keys]
        return [each for each in beside if each in self.modules]

    def is_list(self, path: str) -> bool:
        """Return whether a module stands in a list or a dictionary, which holds its like alone."""
        return isinstance(self.modules.get(_split(path)[0]), nn.ModuleList | nn.ModuleDict)

    def stacks(self) -> list[str]:
        """Return the paths of lists that hold several modules of one class, each with parts."""
        return [path for path in self.modules if len(self.blocks_in(path)) > 1]

    def blocks_in(self, path: str) -> list[str]:
        """Return the paths of the modules in a list or dictionary; of none unless all are of one class."""
        container = self.modules[path]
        if not isinstance(container, nn.ModuleList | nn.ModuleDict | nn.Sequential):
            return []
        held = list(container.children())
        if len({type(module) for module in held}) > 1 or not all(self._has_parts(each) for each in held):
            return []
        return [f"{path}.{name}" if path else name for name, _ in container.named_children()]

    @staticmethod
    def _has_parts(module: nn.Module) -> bool:
        is_list = isinstance(module, nn.ModuleList | nn.ModuleDict | nn.Sequential)
        is_trained = any(parameter.requires_grad for parameter in module.parameters())
        return not is_list and is_trained and any(True for _ in module.children())

    def make(self, path: str) -> tuple[tuple[str, type[nn.Module]], ...]:
        """Return what a module is made of: the paths and classes within it."""
        if path not in self._makes:
            self._makes[path] = tuple((name, type(m)) for name, m in self.modules[path].named_modules())
        return self._makes[path]


def _split(path: str) -> tuple[str, str, str]:
    """Return a path's last part with a number in it, what is above that and what is below."""
    parts = path.split(".")
    at = max((i for i, part in enumerate(parts) if _NUMBER.search(part)), default=len(parts))
    return ".".join(parts[:at]), ".".join(parts[at : at + 1]), ".".join(parts[at + 1 :])
