"""Numbers as people's logs write them."""

import math
import re

MISSING = frozenset({"", "none", "null", "n/a", "na", "-"})
"""Cells that hold no reading, in lower case; ``nan`` is one."""

NOT_FINITE = (
    r"(?i:nan|inf(?:inity)?)(?:\.0++)?+(?:\((?i:s?nan|q?nan|ind)\))?+(?!\w)|1\.#(?:QNAN|SNAN|IND|INF)0*+"
)
"""What programs print for numbers that are not finite: ``nan``, ``nan.0``, ``-nan(ind)``, ``1.#QNAN``."""
WRAPPER = r"(?:[a-z]\w{0,12}+\.)?(?:b?float\d{0,3}+|u?int\d{0,3}+|tensor|array|scalar)\("
"""What stands before a number that was printed with its type: ``np.float64(``, ``tensor(``."""

_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")
_NOT_FINITE = re.compile(rf"([-+]?)({NOT_FINITE})")
_WRAPPED = re.compile(rf"(?i:{WRAPPER})\s*([^\s,()]+)\s*(?:,[^()]*)?\)")
_WITH_MEAN = re.compile(r"(\S+)\s*\(\s*[-+.\w]+\s*\)")
_COUNT = re.compile(r"\[?\s*(\d+)\s*/\s*(\d+)\s*(?:\(\s*[\d.]+\s*%\))?\s*\]?")


def number(text: str, whole: bool = False) -> float | None:
    """Return the number that a text is, or None where it says that there is none.

    Args:
        text: A cell: ``3.14``, ``1e-3``, ``nan``, ``3,14``, ``1,234.5``, ``tensor(3.14)``, ``3.14 (3.20)``.
        whole: Whether a count is meant, so that ``1,234`` is above a thousand and ``10/438`` is ten.

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
    if whole and (count := _COUNT.fullmatch(text)) is not None:
        return float(count[1])
    if (found := _NOT_FINITE.fullmatch(text)) is not None:
        return _not_finite(found[1], found[2])
    # A number printed with its type, or beside its running mean.
    inner = _WRAPPED.fullmatch(text) or _WITH_MEAN.fullmatch(text)
    if inner is not None and inner[1] != text:
        return number(inner[1], whole)
    raise ValueError(text)


def is_count(text: str) -> bool:
    """Return whether a text counts towards a total: ``10/438``, ``[240/735]``, ``[ 6464/109468 (6%)]``."""
    return _COUNT.fullmatch(text.strip()) is not None


def _not_finite(sign: str, text: str) -> float:
    infinite = "inf" in text.lower()
    return math.copysign(math.inf, -1.0 if sign == "-" else 1.0) if infinite else math.nan
