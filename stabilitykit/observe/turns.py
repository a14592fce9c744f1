"""Which call of a module is a site's, where modules run more than once in a forward pass."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from stabilitykit.observe.hook import Handle, hook_input
from stabilitykit.observe.site import Site


class Pass:
    """Counts the forwards of a module within which others take turns."""

    def __init__(self, armed: Callable[[nn.Module], bool]) -> None:
        self.number = 0
        self._armed = armed

    def begin(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Note that a forward begins."""
        if not torch.compiler.is_compiling() and self._armed(module):
            self.number += 1


class Turn:
    """Tells a site whether the call at hand is its own; to be asked once a call that is observed.

    Args:
        site: The site.
        caller: The forwards within which calls are counted; None where every call is the site's.
    """

    def __init__(self, site: Site, caller: Pass | None) -> None:
        self._call = site.call
        self._of_calls = site.of_calls
        self._caller = caller
        self._pass = self._calls = 0
        self.most = 0
        """Calls seen in one pass at most."""

    def is_now(self) -> bool:
        """Count a call, and return whether it is the site's."""
        if self._caller is None:
            return True
        if torch.compiler.is_compiling():
            # In a graph nothing may depend on state of the host that changes from call to call.
            return self._of_calls == 1
        if self._pass != self._caller.number:
            self._pass, self._calls = self._caller.number, 0
        self._calls += 1
        if self._calls > self.most:
            self.most = self._calls
        return self._calls - 1 == self._call


class Turns:
    """The turns of all sites of a layout.

    Args:
        modules: Modules by path.
        armed: Whether the forward that runs through a module is observed.
    """

    def __init__(self, modules: Mapping[str, nn.Module], armed: Callable[[nn.Module], bool]) -> None:
        self._modules = modules
        self._armed = armed
        self._passes: dict[str, Pass] = {}
        self._turns: list[tuple[Site, Turn]] = []

    def of(self, site: Site) -> Turn:
        """Return the turn of a site."""
        if site.caller is not None and site.caller not in self._passes:
            self._passes[site.caller] = Pass(self._armed)
        turn = Turn(site, self._passes[site.caller] if site.caller is not None else None)
        self._turns.append((site, turn))
        return turn

    def attach(self) -> list[Handle]:
        """Hook the modules within whose forwards calls are counted; the handles remove the hooks."""
        return [hook_input(self._modules[path], each.begin) for path, each in self._passes.items()]

    def notes(self, blocks: Iterable[str]) -> list[str]:
        """Return a line for every module that ran more often in a pass than there are sites for.

        Args:
            blocks: Names of the sites of which it is told.
        """
        wanted = set(blocks)
        most: dict[str, tuple[int, int]] = {}
        for site, turn in self._turns:
            if site.name in wanted and turn.most > site.of_calls:
                most[site.module] = (max(turn.most, most.get(site.module, (0, 0))[0]), site.of_calls)
        return [
            f"{path} ran {ran} times in one pass at most: the first {seen} are read, what comes after is not"
            if seen > 1
            else f"{path} ran {ran} times in one pass at most: the first is read, what comes after is not"
            for path, (ran, seen) in most.items()
        ]
