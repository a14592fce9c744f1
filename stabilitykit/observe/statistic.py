"""A statistic of the user's own: a function of a tensor, taken at the sites that a pattern names."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from stabilitykit.errors import ConfigError
from stabilitykit.observe.partials import MAXIMUM, MINIMUM, SUM
from stabilitykit.plugins import plugins
from stabilitykit.tags import REGISTRY

GROUP = "stabilitykit.statistics"
"""Entry point group under which installed packages offer statistics."""

_NAME = re.compile(r"[a-z0-9_]+/[a-z0-9_]+")
_COLUMNS = {"mean": SUM, "sum": SUM, "max": MAXIMUM, "min": MINIMUM}


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number of a tensor, read wherever a site fits.

    Its readings are ``<name>/<site>``. An error in it ends it at that site alone, and is said once.

    Raises:
        ConfigError: The name or the merge rule is not accepted.
    """

    name: str
    """``family/statistic`` in ``a-z``, ``0-9`` and ``_``; none of the built-in ones."""
    function: Callable[[Tensor], Tensor]
    """Of a detached tensor, a tensor of one number on the same device. It must not change the tensor, draw
    random numbers, or wait for the device."""
    merge: Literal["mean", "max", "min", "sum"] = "mean"
    """How the numbers of several microbatches, or calls, of one step become one."""
    sites: str = "*"
    """Pattern of the sites of activations and output logits; ``*`` stands for any text."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in REGISTRY:
            raise ConfigError(
                f"statistics: got the name {self.name!r}; must be 'family/statistic' in a-z, 0-9 and _, "
                "and not a built-in one"
            )
        if self.merge not in _COLUMNS:
            raise ConfigError(
                f"statistics.{self.name}.merge: got {self.merge!r}; accepted: {', '.join(_COLUMNS)}"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # Other processes are told of a site's statistic, whose function may be known to this one alone.
        return Statistic, (self.name, _elsewhere, self.merge, self.sites)

    @property
    def column(self) -> int:
        """Column of the buffer whose merge rule is this statistic's."""
        return _COLUMNS[self.merge]


def _elsewhere(x: Tensor) -> Tensor:
    """Stand for a function of another process."""
    raise NotImplementedError("the function of another process cannot be called")


def all_statistics(given: Iterable[Statistic]) -> tuple[Statistic, ...]:
    """Return the statistics given and those that installed packages offer.

    Raises:
        ConfigError: Something is no statistic, or two share a name.
    """
    found = [*given, *plugins(GROUP)]
    for each in found:
        if not isinstance(each, Statistic):
            raise ConfigError(f"statistics: got {each!r}; must be a stabilitykit.Statistic")
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"statistics: {name!r} is there twice")
    return tuple(found)
