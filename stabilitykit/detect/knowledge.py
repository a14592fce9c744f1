"""What is known of each kind: what it is, how computed, healthy values, causes, remedies, sources."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from stabilitykit.records import KINDS


@dataclass(frozen=True, slots=True)
class Advice:
    """A cause or a remedy, and the evidence that must stand beside an incident for it to be named."""

    text: str
    when: frozenset[str] = frozenset()
    """Kinds of findings of which at least one must be among the evidence; none: always."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All that ``explain`` prints of a kind, and what its incidents say."""

    kind: str
    title: str
    text: str
    """Markdown: what it is, how it is computed, healthy values, known false alarms."""
    advice: Mapping[str, tuple[Advice, ...]]
    sources: tuple[str, ...]

    def causes(self, evidence: frozenset[str]) -> tuple[str, ...]:
        """Return the likely causes that the kinds of some evidence carry."""
        return self._matching("causes", evidence)

    def remedies(self, evidence: frozenset[str]) -> tuple[str, ...]:
        """Return what to try, for the kinds of some evidence."""
        return self._matching("remedies", evidence)

    def _matching(self, what: str, evidence: frozenset[str]) -> tuple[str, ...]:
        return tuple(a.text for a in self.advice[what] if not a.when or a.when & evidence)


def _load() -> dict[str, Knowledge]:
    text = files("stabilitykit.detect").joinpath("knowledge.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return {kind: _knowledge(kind, document[kind]) for kind in KINDS if kind in document}


def _knowledge(kind: str, entry: Mapping[str, Any]) -> Knowledge:
    advice = {
        what: tuple(
            Advice(a) if isinstance(a, str) else Advice(a["text"], frozenset(a["when"])) for a in entry[what]
        )
        for what in ("causes", "remedies")
    }
    return Knowledge(kind, entry["title"], entry["text"].strip(), advice, tuple(entry["sources"]))


KNOWLEDGE: Mapping[str, Knowledge] = _load()
"""What is known, by kind."""
