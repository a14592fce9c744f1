"""Shares, spreads and ratios as ``cost`` writes them."""

from stabilitykit.lab.cost.amounts import seconds_text
from stabilitykit.lab.cost.document import Quotient, Times


def percent(part: float, whole: float) -> str:
    """Return a share in %, without the sign."""
    return f"{100 * part / whole:.2f}" if whole else "–"


def spread(times: Times) -> str:
    """Return a median with its quartiles."""
    return f"{seconds_text(times.median)} ({seconds_text(times.low)} to {seconds_text(times.high)})"


def intensity(value: float | None) -> str:
    """Return FLOPs a byte, or a dash where nothing moves."""
    return "–" if value is None else f"{value:.3g}"


def ratio(value: float | None) -> str:
    """Return a ratio."""
    return "–" if value is None else f"×{value:.3g}"


def interval(measured: Quotient | None) -> str:
    """Return a measured ratio with its 95 % interval."""
    if measured is None:
        return "–"
    return f"×{measured.median:.3g} ({measured.low:.3g}–{measured.high:.3g})"
