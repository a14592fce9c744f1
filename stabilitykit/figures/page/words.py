"""Numbers and spans as the page writes them."""

import math

from stabilitykit.records import Incident


def value_text(value: float) -> str:
    """Return four digits of a number."""
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def span_text(incident: Incident) -> str:
    """Return the steps of an incident."""
    if incident.end is None:
        return f"from {incident.start}, open"
    return str(incident.start) if incident.end == incident.start else f"{incident.start} to {incident.end}"


def short_value(value: float | None) -> str:
    """Return three digits of a number, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.3g}"
