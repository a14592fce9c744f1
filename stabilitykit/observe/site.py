"""Sites: where a tensor is seen, and how the found ones are described."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from stabilitykit.observe.handed import Place
from stabilitykit.observe.statistic import Statistic
from stabilitykit.tags import role_of


class Role(StrEnum):
    """What a site is, which decides the statistics taken there."""

    ACTIVATION = "activation"
    ATTENTION = "attention"
    LOGITS = "logits"
    STATISTIC = "statistic"


@dataclass(frozen=True, slots=True)
class Site:
    """A named place in a model where a tensor is seen."""

    name: str
    """In TransformerLens' words: ``blocks.03.resid_pre``."""
    module: str
    """Path of the module that is hooked, as in ``named_modules()``."""
    role: Role
    side: str = "output"
    """``input`` or ``output`` of the module."""
    call: int = 0
    """Which call of the module within one forward of ``caller``."""
    of_calls: int = 1
    """How many of the module's calls within one forward of ``caller`` have sites."""
    caller: str | None = None
    """Path of the module in whose forward calls are counted; None where every call is this site's."""
    place: Place = ()
    """Where in what the module is given or returns the tensor lies; empty for the first one."""
    dim: int = -1
    """Of logits, the dimension that holds the classes, from the end."""
    renamed_from: str = ""
    """Its conventional name, where the user has given it another."""
    statistic: Statistic | None = None
    """The statistic of the user's own that is taken here, if the site is there for one."""

    @property
    def block_role(self) -> str:
        """What it is in its block, whatever its name: ``resid_post``."""
        return role_of(self.renamed_from or self.name)

    @property
    def key(self) -> str:
        """What tells it from every other site: its name, behind the statistic's where it is there for one."""
        return f"{self.statistic.name}/{self.name}" if self.statistic else self.name


@dataclass(frozen=True, slots=True)
class Router:
    """Where the router of a mixture of experts chooses."""

    module: str
    """Path of the module in whose own forward it chooses."""
    experts: int
    dim: int
    """The dimension that holds the experts in what is chosen from, from the end."""
    selections: frozenset[int]
    """Which of the module's choices of largest numbers are the router's, in order."""
    experts_choose: bool = False
    """Whether experts choose tokens, rather than tokens experts."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What was found in a model: sites in forward order, parameter groups and norm gains."""

    sites: tuple[Site, ...]
    groups: Mapping[str, tuple[str, ...]]
    """Parameter names by group, in forward order: ``embed``, ``blocks.00``, …, ``head``."""
    gains: Mapping[str, str]
    """Name of the gain parameter by norm: ``blocks.03.attn_norm`` → its path."""
    notes: tuple[str, ...] = field(default=())
    """What was not found, and why."""
    hidden: Mapping[str, Site] = field(default_factory=dict)
    """The input of the module that a feed-forward's hidden units enter, by name: ``blocks.03.mlp_hidden``."""
    routers: Mapping[str, Router] = field(default_factory=dict)
    """Routers of mixtures of experts by block."""

    @property
    def renamed(self) -> Mapping[str, str]:
        """Conventional names of renamed sites."""
        return {site.name: site.renamed_from for site in self.sites if site.renamed_from}


@dataclass(slots=True)
class Coverage:
    """How one site is watched: a row of the coverage report."""

    site: str
    kind: str
    """Exact, bound or sampled."""
    module: str
    """Class and path of the module behind the site, or what is read instead."""
    statistics: tuple[str, ...]
    fired: int = 0
    """Forwards seen so far."""
    dark: str = ""
    """Why the site is no longer watched; empty while it is."""

    every: int = 1
    """Observed steps from one reading to the next."""

    @property
    def is_silent(self) -> bool:
        """Whether a forward pass should have been seen here, and none was."""
        families = {name.partition("/")[0] for name in self.statistics}
        return self.every == 1 and (
            not self.fired and not self.dark and bool(families) and not families & {"grad", "optim", "norm"}
        )


EMPTY_LAYOUT = Layout((), MappingProxyType({}), MappingProxyType({}))
"""The layout of a model in which nothing is known."""
