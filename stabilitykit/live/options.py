"""How a run is watched: what every way of attaching a monitor takes, stated once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypedDict, cast

from stabilitykit.detect import Detector
from stabilitykit.errors import ConfigError
from stabilitykit.live.cadence import cadence
from stabilitykit.live.listener import Listener
from stabilitykit.live.reactions import Policy, reactions
from stabilitykit.observe import SiteRules, Statistic
from stabilitykit.store import FOLDER_MB, check_folder_mb


class WatchKeywords(TypedDict, total=False):
    """The fields of ``WatchOptions``, as keyword arguments; a test holds the two together."""

    every_n_steps: int
    budget: float | None
    on_incident: Policy
    sites: SiteRules | str | Path | Mapping[str, Any] | None
    statistics: Sequence[Statistic]
    detectors: Sequence[Detector]
    sinks: Sequence[Listener]
    config: Mapping[str, Any]
    folder_mb: float


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """How a run is watched: keyword arguments of ``watch``, ``StabilityMonitor`` and all other doors."""

    every_n_steps: int = 1
    """Observe every n-th optimizer step."""
    budget: float | None = None
    """Share of the time that observing may take, such as 0.02: the cadence then follows what is measured, on
    the first process, and is recorded as ``monitor/every_n_steps``. None for no limit."""
    on_incident: Policy = "log"
    """What happens when a warning or critical incident opens: ``"log"``, ``"stop"`` (the trainer stops;
    a plain loop asks ``should_stop``), ``"raise"``, a function of the incident, a ``Command``, a
    ``WebAddress``, or a list of these."""
    sites: SiteRules | str | Path | Mapping[str, Any] | None = None
    """Sites to add, rename and leave out: rules, or the path of a YAML file of them."""
    statistics: Sequence[Statistic] = ()
    """Statistics of the user's own, beside the built-in ones."""
    detectors: Sequence[Detector] = ()
    """Detectors of the user's own, beside the built-in ones."""
    sinks: Sequence[Listener] = ()
    """What follows the run beside its folder; called by the first process alone."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What is written to the run's ``config.yaml``."""
    folder_mb: float = FOLDER_MB
    """What the folder may take, in megabytes, from 1 on: the oldest steps are thinned to stay within it;
    infinity keeps every step."""

    def checked(self) -> "WatchOptions":
        """Return the same options with rules of sites read from where they stand.

        Raises:
            ConfigError: One is not accepted.
        """
        cadence(self.every_n_steps, self.budget)
        reactions(self.on_incident)
        check_folder_mb(self.folder_mb)
        for sink in self.sinks:
            if not isinstance(sink, Listener):
                raise ConfigError(f"sinks: got {sink!r}; must be a stabilitykit.Listener")
        return replace(self, sites=SiteRules.of(self.sites))

    def keywords(self) -> WatchKeywords:
        """Return the options as keyword arguments of another door."""
        return cast(WatchKeywords, {option.name: getattr(self, option.name) for option in fields(self)})
