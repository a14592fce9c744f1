"""Counts, times and ratios as ``cost`` writes them."""

from stabilitykit.lab.cost.document import Quotient, Times


def percent(part: float, whole: float) -> str:
    """Return a share in %, without the sign."""
    return f"{100 * part / whole:.2f}" if whole else "–"


def short(value: float) -> str:
    """Return a count with its thousands in short, up to P."""
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 999.5 * size else f"{value / size:.0f} {unit}"
    return f"{value:.3g}"


def seconds(value: float | None) -> str:
    """Return a time with its unit."""
    if value is None:
        return "–"
    if value == 0:
        return "0 s"
    if value >= 999.5:
        return f"{value:,.0f} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def spread(times: Times) -> str:
    """Return a median with its quartiles."""
    return f"{seconds(times.median)} ({seconds(times.low)} to {seconds(times.high)})"


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
