"""When a run counts as stable: its verdict, and a loss that is not far above what was possible."""

from stabilitykit.experiments.grid.result import CellResult

TOLERANCE = 0.5
"""Nats above the best final loss that a stable run may end at."""


def is_stable(result: CellResult, best: float | None) -> bool:
    """Return whether a run held.

    Its verdict is ``stable`` or ``recovered``, and its final loss lies within ``TOLERANCE`` of the best: at a
    learning rate far too high a loss may be calm and useless.

    Args:
        result: How the run ended.
        best: The best final loss that runs of the same architecture reached; None where none did.
    """
    if result.outcome not in ("stable", "recovered") or result.final_loss is None:
        return False
    return best is None or result.final_loss <= best + TOLERANCE
