"""What is known of each kind: what it is, how computed, healthy values, causes, remedies, sources."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from stabilitykit.records import KINDS, Finding, Incident

INSIDE = "inside"
"""Evidence that there is where activations, gradients or updates were read: then silence means something."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A cause or a remedy, and the evidence that must stand beside an incident for it to be named.

    Evidence is named by its kind, or as ``kind@site``, and counts only if it began no later than the
    incident: what came after it is no cause.
    """

    text: str
    when: tuple[str, ...] = ()
    """Evidence of which at least one must be there; none: always."""
    unless: tuple[str, ...] = ()
    """Evidence that names something better."""
    first: str = ""
    """How the site must begin that left its band first, where it matters."""

    def applies(self, names: frozenset[str], site: str) -> bool:
        """Return whether this may be said of an incident.

        Args:
            names: What its evidence is called.
            site: The site at which it began.
        """
        if not site.startswith(self.first):
            return False
        return (not self.when or bool(names.intersection(self.when))) and names.isdisjoint(self.unless)

    @property
    def condition(self) -> str:
        """The evidence that is asked for, in words; empty where it is always said."""
        words = ["readings of the model's inside" if name == INSIDE else name for name in self.when]
        parts = [f"with {' or '.join(words)}"] if words else []
        parts += [f"without {' and '.join(self.unless)}"] if self.unless else []
        parts += [f"begins at {self.first}"] if self.first else []
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All that ``explain`` prints of a kind, and what its incidents say."""

    kind: str
    title: str
    text: str
    """Markdown: what it is, how it is computed, healthy values, known false alarms."""
    causes: tuple[Advice, ...]
    remedies: tuple[Advice, ...]
    sources: tuple[str, ...]


def explained(incident: Incident, inside: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the likely causes of an incident and what to try, as far as its evidence carries them.

    Args:
        incident: The incident with its evidence.
        inside: Whether the model's inside was read at all, or the loss alone.
    """
    known = KNOWLEDGE.get(incident.kind)
    if known is None:
        return (), ()
    names = evidence_names(incident.evidence, incident.start) | ({INSIDE} if inside else set())
    causes, remedies = (
        tuple(advice.text for advice in each if advice.applies(names, incident.site))
        for each in (known.causes, known.remedies)
    )
    return causes, remedies


def evidence_names(evidence: Iterable[Finding], start: int) -> frozenset[str]:
    """Return what the findings that began at a step or before are called in conditions."""
    earlier = [finding for finding in evidence if finding.since <= start]
    return frozenset(name for f in earlier for name in (f.kind, f"{f.kind}@{f.site}"))


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where PyYAML was built with it, is ten times faster: this is read whenever the room is used."""


def _load() -> dict[str, Knowledge]:
    text = files("stabilitykit.detect").joinpath("knowledge.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.load(text, Loader=_LOADER)
    return {kind: _knowledge(kind, document[kind]) for kind in KINDS if kind in document}


def _knowledge(kind: str, entry: Mapping[str, Any]) -> Knowledge:
    causes, remedies = (tuple(map(_advice, entry[what])) for what in ("causes", "remedies"))
    return Knowledge(kind, entry["title"], entry["text"].strip(), causes, remedies, tuple(entry["sources"]))


def _advice(entry: str | Mapping[str, Any]) -> Advice:
    if isinstance(entry, str):
        return Advice(entry)
    conditions = {name: tuple(entry.get(name, ())) for name in ("when", "unless")}
    return Advice(entry["text"], **conditions, first=entry.get("first", ""))


KNOWLEDGE: Mapping[str, Knowledge] = _load()
"""What is known, by kind."""
