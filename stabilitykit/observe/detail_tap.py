"""Taps for dearer statistics: now and then, on one sequence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from stabilitykit.observe.handed import tensor_at
from stabilitykit.observe.hook import Handle, hook_input, hook_output
from stabilitykit.observe.site import Coverage, Layout, Site
from stabilitykit.observe.tap import Armed, OnError
from stabilitykit.observe.turns import Turn
from stabilitykit.stats import LineDetail, line_detail, local, silent_share
from stabilitykit.tags import tag

_LINE = ("act/massive", "act/kurtosis", "act/token_spread")
_HIDDEN = ("act/silent_units",)


@dataclass(frozen=True, slots=True)
class DetailPart:
    """What the numbers of a site's details are."""

    adds_up: ClassVar[bool] = False
    """Whether the numbers of ranks are added up; else they are the first one's."""

    site: str
    size: int
    """How many numbers."""
    width: int

    def readings(self, n_tokens: int, numbers: list[float]) -> dict[str, float]:
        """Return the readings.

        Args:
            n_tokens: Tokens looked at.
            numbers: The numbers on the host.
        """
        if len(numbers) == 1:
            return {tag(_HIDDEN[0], self.site): numbers[0]}
        detail = LineDetail.of(numbers, n_tokens, self.width)
        values = (detail.massive, detail.kurtosis, detail.token_spread)
        return {tag(name, self.site): value for name, value in zip(_LINE, values, strict=True)}


@dataclass(frozen=True, slots=True)
class Detail:
    """What a site gave at a step, waiting on the device."""

    part: DetailPart
    numbers: Tensor
    n_tokens: int


class DetailTap:
    """What is attached to a site for dearer statistics: reads the first sequence of an armed step.

    Args:
        site: The site, ``mlp_hidden`` or a line.
        armed: Whether a forward belongs to a step on which they are taken.
        on_error: Told when the tap fails.
    """

    def __init__(self, site: Site, armed: Armed, on_error: OnError) -> None:
        self.site = site.name
        self.module = site.module
        """Path of the module that is hooked."""
        self.turn = Turn(site, None)
        """Which calls of the module are the site's."""
        self._place = site.place
        self._is_hidden = site.block_role == "mlp_hidden"
        self._armed = armed
        self._on_error = on_error
        self.fired = 0
        self.is_dark = False
        """Whether it sees nothing any more."""
        self.newest: Detail | None = None
        """What the step at hand gave, until it is read."""

    def attach(self, module: nn.Module) -> list[Handle]:
        """Hook the module; the handles remove the tap."""
        if self._is_hidden:
            return [hook_input(module, self._on_input)]
        return [hook_output(module, self._on_output)]

    def _on_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._see(module, args or kwargs)

    def _on_output(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._see(module, output)

    def _see(self, module: nn.Module, value: Any) -> None:
        # What a tap keeps on the host would be compiled anew at every step.
        if torch.compiler.is_compiling() or not self._armed(module) or not self.turn.is_now():
            return
        if self.is_dark or self.newest is not None:
            return
        try:
            tensor = tensor_at(value, self._place)
            tensor = tensor if tensor is None else local(tensor)
            if tensor is not None and tensor.is_floating_point() and tensor.dim() > 1:
                with torch.no_grad():
                    self._read(tensor.detach())
        except Exception as error:  # Nothing in a monitor may end a training run.
            self._on_error(self.site, error)

    def _read(self, x: Tensor) -> None:
        tokens = (x[0] if x.dim() > 2 else x).flatten(0, -2)
        if len(tokens) > 1:
            numbers = silent_share(tokens)[None] if self._is_hidden else line_detail(tokens)
            n_tokens, width = tokens.shape
            self.newest = Detail(DetailPart(self.site, numbers.numel(), width), numbers, n_tokens)
            self.fired += 1

    def coverage(self, module: str, dark: str, every: int) -> Coverage:
        """Return how the site is watched.

        Args:
            module: Class and path of the module behind it.
            dark: Why it is no longer watched.
            every: Observed steps from one reading to the next.
        """
        what, read = f"{module}, one sequence", _HIDDEN if self._is_hidden else _LINE
        return Coverage(self.site, "sampled", what, read, self.fired, dark, every)


def detail_sites(layout: Layout) -> list[Site]:
    """Return the sites of details: the stream behind each block, and what its hidden units enter."""
    lines = {site.name: site for site in layout.sites if site.block_role == "resid_post"}
    return list({**lines, **layout.hidden}.values())


class DetailTaps:
    """All detail taps of a model.

    Args:
        layout: The sites that were found.
        modules: Modules by path.
        armed: Whether a forward belongs to an observed step.
        on_error: Told when a tap fails.
    """

    EVERY = 10
    """Observed steps from one reading to the next."""

    def __init__(
        self, layout: Layout, modules: Mapping[str, nn.Module], armed: Armed, on_error: OnError
    ) -> None:
        self.armed = False
        self._modules = modules
        self._sites = detail_sites(layout)
        self.taps = [
            DetailTap(site, lambda module: self.armed and armed(module), on_error) for site in self._sites
        ]

    def modules(self) -> list[str]:
        """Return the paths of all modules that are hooked."""
        return [tap.module for tap in self.taps]

    def take_turns(self, turn_of: Callable[[Site], Turn]) -> None:
        """Tell the taps which calls of their modules are their sites'.

        Args:
            turn_of: Returns that of a site.
        """
        for tap, site in zip(self.taps, self._sites, strict=True):
            tap.turn = turn_of(site)

    def newest(self) -> list[Detail]:
        """Return what the step at hand gave."""
        return [tap.newest for tap in self.taps if tap.newest is not None]

    def reset(self) -> None:
        """Forget the step."""
        for each in self.taps:
            each.newest = None

    def coverage(self, name: Callable[[str], str], dark: Mapping[str, str]) -> list[Coverage]:
        """Return how the sites are watched.

        Args:
            name: Describes the module at a path.
            dark: Why a site is no longer watched.
        """
        return [tap.coverage(name(tap.module), dark.get(tap.site, ""), self.EVERY) for tap in self.taps]
