"""Numbers with their intervals, as the page writes them."""

from stabilitykit.lab.report.landscape import number
from stabilitykit.lab.sweep.compare import Estimate


def estimate_text(found: Estimate, percent: bool = False) -> str:
    """Return a number with its 95 % interval: ``0.031 [0.02, 0.05]``; ``≥`` where it is the least.

    Args:
        found: The number.
        percent: Whether it is a share, told in per cent.
    """

    def told(value: float | None) -> str:
        if value is None:
            return "–"
        return f"{100 * value:.0f}" if percent else number(float(value))

    if found.value is None:
        return "–"
    text = ("≥ " if found.censored else "") + told(found.value) + (" %" if percent else "")
    return f"{text} [{told(found.low)}, {told(found.high)}]" if found.has_interval else text
