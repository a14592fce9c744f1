"""Amounts of arithmetic, bytes and time in words, for terminal and page. No torch."""

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_TIMES = (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3))


def amount(value: float, unit: str = "") -> str:
    """Return an amount with its prefix, with at most three digits: ``25.2 M``.

    Args:
        value: At least 0.
        unit: Follows the prefix.
    """
    n = 0
    # 999.9 k is told as 1 M: three digits of it do not fit.
    while value >= 999.5 and n < len(_PREFIXES) - 1:
        value, n = value / 1000, n + 1
    return f"{value:.3g} {_PREFIXES[n]}{unit}".rstrip()


def seconds_text(value: float | None) -> str:
    """Return three digits of a time with its unit, or a dash where there is none.

    Args:
        value: Seconds.
    """
    if value is None:
        return "–"
    if not value:
        return "0 s"
    for unit, size in _TIMES:
        if value / size < 999.5:
            return f"{_three(value / size)} {unit}"
    return f"{_three(value)} s"


def _three(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
