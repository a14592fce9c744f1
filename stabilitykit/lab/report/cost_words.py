"""Shares and ratios, as the section on costs writes them."""

from stabilitykit.lab.cost.spread import Ratio


def percent(share: float | None) -> str:
    """Return a share in per cent with one digit, or a dash where there is none.

    Args:
        share: 0 to 1.
    """
    return "–" if share is None else f"{100 * share:.1f} %"


def ratio_text(value: float | None) -> str:
    """Return a ratio with three digits after the point, or a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def interval_text(found: Ratio | None) -> str:
    """Return a measured ratio with its 95 % interval, or a dash where there is none."""
    return "–" if found is None else f"{found.median:.3f} [{found.low:.3f}, {found.high:.3f}]"
