"""Numbers, times and marks as text."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stabilitykit.lab.cost.amounts import amount
from stabilitykit.records import Incident, Severity

if TYPE_CHECKING:
    from stabilitykit.lab.probe import ProbePlan

SEVERITY_STYLES = {Severity.INFO: "dim", Severity.WARNING: "yellow", Severity.CRITICAL: "red"}
"""Colour of an incident."""

OUTCOME_STYLES = {
    "stable": "green",
    "recovered": "yellow",
    "unknown": "yellow",
    "stuck": "red",
    "diverged": "red",
}
"""Colour of a verdict."""


@dataclass(frozen=True)
class Glyphs:
    """Characters of a terminal."""

    open: str
    closed: str
    filled: str
    half: str
    empty: str
    level: str
    broken: str
    absent: str
    dot: str
    tick: str
    ellipsis: str
    warning: str
    critical: str
    above: str
    edge: str

    def mark(self, incident: Incident) -> str:
        """Return the mark of an incident, by whether it is open."""
        return self.open if incident.is_open else self.closed

    def plain(self, text: str) -> str:
        """Return ``text`` as far as this terminal can show it."""
        return text if self is UNICODE else text.replace("·", ",").encode("ascii", "replace").decode()


UNICODE = Glyphs("●", "○", "━", "╸", "─", "╌", "×", "–", " · ", "┤", "…", "△", "◆", "▲", "│")
ASCII = Glyphs("*", "o", "=", "-", ".", "-", "x", "-", ", ", "|", "...", "^", "#", "^", "|")


def number(value: float | None) -> str:
    """Return three digits of a number, of a constant width where its order allows."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    # Readings are float32: 0.01 arrives as 0.00999999978.
    value = float(f"{value:.6g}")
    size = abs(value)
    if size == 0:
        return "0"
    if 1e3 <= size < 1e5:
        return f"{value:.0f}"
    if 1e-2 <= size < 1e3:
        return f"{value:#.3g}".rstrip(".")
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def setting(value: float) -> str:
    """Return a number as it would be typed: ``3e-3``, ``0.1``."""
    rounded = float(f"{value:.4g}")
    if rounded == 0 or not math.isfinite(value) or 0.01 <= abs(rounded) < 1e4:
        return f"{rounded:.4g}"
    mantissa, exponent = f"{rounded:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def count(value: int) -> str:
    """Return a count with its thousands in short: ``331k``."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)


def bytes_taken(size: int) -> str:
    """Return a size on disk in decimal units: ``1.3 MB``."""
    return amount(size, "B")


def age(seconds: float) -> str:
    """Return a past time in its largest unit: ``3 min``."""
    for unit, of in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= of:
            return f"{seconds / of:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def clock_time(seconds: float | None) -> str:
    """Return a time as ``m:ss`` or ``h:mm:ss``; unknown is ``-:--``."""
    if seconds is None or not math.isfinite(seconds):
        return "-:--"
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def settings(plan: "ProbePlan") -> str:
    """Return steps, learning rate, warmup and seed of a plan on one line."""
    rate = setting(plan.spec.optimizer.lr)
    return f"{plan.steps} steps, LR {rate}, warmup {plan.warmup}, seed {plan.spec.seed}"


def size(plan: "ProbePlan") -> str:
    """Return depth and parameters of a plan's model."""
    return f"{plan.n_blocks} blocks, {count(plan.n_parameters)} parameters"


def span(incident: Incident) -> str:
    """Return the steps of an incident."""
    if incident.end is None:
        return f"from step {incident.start}, still open"
    if incident.end == incident.start:
        return f"step {incident.start}"
    return f"steps {incident.start} to {incident.end}"
