"""What ``explain`` says of a kind: its knowledge, with the limits that its detector judges by."""

from collections.abc import Sequence
from typing import Any

from stabilitykit.detect import default_detectors
from stabilitykit.detect.detector import Detector
from stabilitykit.detect.knowledge import KNOWLEDGE, Advice
from stabilitykit.detect.measured import measured


def explanation(kind: str) -> str:
    """Return all that is known of a kind, as Markdown.

    Args:
        kind: One of ``KNOWLEDGE``.
    """
    known = KNOWLEDGE[kind]
    parts = [
        known.text.format_map(limits(kind)),
        f"**Measured.** {measured()[kind].sentence} (`docs/benchmark.md`)",
        "**Likely causes.**",
        _listed(known.causes),
        "**What to try.**",
        _listed(known.remedies),
    ]
    return "\n\n".join(parts)


def limits(kind: str) -> dict[str, Any]:
    """Return the settings and the windows of a kind's detector, by name."""
    detector = next(each for each in default_detectors() if each.kind == kind)
    return {**_windows(type(detector)), **detector.settings}


def _windows(detector: type[Detector]) -> dict[str, Any]:
    return {name: getattr(detector, name) for name in dir(detector) if name.isupper()}


def _listed(advice: Sequence[Advice]) -> str:
    return "\n".join(f"- {a.text}" + (f" *({a.condition})*" if a.condition else "") for a in advice)
