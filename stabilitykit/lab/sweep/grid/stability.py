"""When a run counts as stable: its verdict, and a loss that is not far above what was possible."""

import math

from stabilitykit.lab.sweep.grid.result import CellResult

TOLERANCE = 0.5
"""Nats above the best final loss that a stable run may end at."""


def is_stable(result: CellResult, best: float | None) -> bool:
    """Return whether a run is stable.

    Its verdict is ``stable`` or ``recovered``, and its final loss lies within ``TOLERANCE`` of the best: a
    loss that was parked high from the first step on breaks nothing, but is no training either.

    Args:
        result: How the run ended; a crashed one is not stable.
        best: Final loss of its architecture's best setting, in nats, or None where none is a number.
    """
    loss = result.final_loss
    if not held(result) or best is None or loss is None or not math.isfinite(loss):
        return False
    return loss <= best + TOLERANCE


def is_slow(result: CellResult, best: float | None) -> bool:
    """Return whether nothing broke, and yet little was learnt: the steps were too small, or too few.

    Args:
        result: How the run ended.
        best: As in ``is_stable``.
    """
    return held(result) and not is_stable(result, best)


def held(result: CellResult) -> bool:
    """Return whether a run's verdict is a good one."""
    return result.outcome in ("stable", "recovered")
