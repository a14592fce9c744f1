"""How long healthy runs stay without a false alarm."""

from collections.abc import Sequence


def kaplan_meier(runs: Sequence[tuple[int, int | None]]) -> tuple[tuple[int, float], ...]:
    """Return the share of runs still without an alarm after each step at which one came.

    A run without an alarm says nothing of the steps after its end: it is censored there (Kaplan and Meier
    1958, Journal of the American Statistical Association 53, 457).

    Args:
        runs: Steps trained, and the step of the first alarm or None.
    """
    found = []
    quiet = 1.0
    for step in sorted({alarm for _, alarm in runs if alarm is not None}):
        at_risk = sum(n > step if alarm is None else alarm >= step for n, alarm in runs)
        alarmed = sum(alarm == step for _, alarm in runs)
        quiet *= 1 - alarmed / at_risk
        found.append((step, quiet))
    return tuple(found)
