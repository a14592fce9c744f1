"""Numbers as people's logs write them."""

import re

MISSING = frozenset({"", "none", "null", "n/a", "na", "-"})
"""Cells that hold no reading, in lower case; ``nan`` is one."""

_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")


def number(text: str, whole: bool = False) -> float | None:
    """Return the number that a text is, or None where it says that there is none.

    Args:
        text: A cell: ``3.14``, ``1e-3``, ``nan``, ``3,14``, ``1,234.5``.
        whole: Whether a count is meant, so that ``1,234`` is above a thousand.

    Raises:
        ValueError: It is no number.
    """
    try:
        return float(text)
    except ValueError:
        text = text.strip()
    if text.lower() in MISSING:
        return None
    if _GROUPED.fullmatch(text) and (whole or "." in text):
        return float(text.replace(",", ""))
    if _DECIMAL_COMMA.fullmatch(text):
        return float(text.replace(",", "."))
    raise ValueError(text)
