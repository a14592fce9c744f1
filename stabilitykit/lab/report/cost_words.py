"""Amounts of arithmetic, bytes and time, as the section on costs writes them."""

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def amount(value: float, unit: str = "") -> str:
    """Return three digits of an amount with its prefix: ``25.2 M``.

    Args:
        value: At least 0.
        unit: Follows the prefix.
    """
    if not value:
        return "0"
    n = 0
    while value >= 999.5 and n < len(_PREFIXES) - 1:
        value, n = value / 1000, n + 1
    return f"{_three(value)} {_PREFIXES[n]}{unit}".rstrip()


def seconds_text(value: float | None) -> str:
    """Return three digits of a time with its unit, or a dash where there is none.

    Args:
        value: Seconds.
    """
    if value is None:
        return "–"
    for times, unit in ((1e6, "µs"), (1e3, "ms")):
        if value * times < 999.5:
            return f"{_three(value * times)} {unit}"
    return f"{_three(value)} s"


def percent(share: float | None) -> str:
    """Return a share in per cent with one digit, or a dash where there is none.

    Args:
        share: 0 to 1.
    """
    return "–" if share is None else f"{100 * share:.1f} %"


def ratio_text(value: float | None) -> str:
    """Return a ratio with three digits after the point, or a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def _three(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
