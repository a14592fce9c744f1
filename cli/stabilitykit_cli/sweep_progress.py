"""How far a running sweep is: which cells have ended and how, and when the rest will have."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stabilitykit.lab.sweep.grid import held

if TYPE_CHECKING:
    from stabilitykit.lab.sweep.grid import SweepPlan, SweepRun


@dataclass
class SweepProgress:
    """A sweep's plan, its cells, and the pace so far."""

    plan: "SweepPlan"
    logdir: Path
    workers: int
    clock: Callable[[], float] = time.monotonic
    runs: "dict[str, SweepRun]" = field(default_factory=dict)
    """By the cells' keys, in the order of the plan."""
    running: Mapping[str, float] = field(default_factory=dict)
    """Share that is done of each cell at work."""
    notice: str = ""
    finished: bool = False
    _began: float = field(init=False)
    _found: int = 0

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def done(self) -> int:
        """Cells that have ended."""
        return sum(run.result is not None for run in self.runs.values())

    @property
    def fresh(self) -> int:
        """Cells that have ended since this sweep began; the others were there already."""
        return self.done - self._found

    @property
    def elapsed(self) -> float:
        """Seconds since the sweep began."""
        return self.clock() - self._began

    @property
    def left(self) -> float | None:
        """Seconds until the last cell at the pace so far; None before anything is known."""
        worked = self.fresh + sum(self.running.values())
        missing = len(self.runs) - self.done - sum(self.running.values())
        if not self.runs or missing <= 0:
            return 0.0
        # Loading torch takes a few seconds, from which no pace can be told.
        return self.elapsed / worked * missing if worked >= 0.5 else None

    @property
    def failed(self) -> int:
        """Cells that ended neither stable nor recovered."""
        ended = [run.result for run in self.runs.values() if run.result is not None]
        return sum(not held(result) for result in ended)

    def ask(self, runs: "Sequence[SweepRun]") -> None:
        """Take the cells that are asked for."""
        first = not self.runs
        self.runs = {run.cell.key: run for run in runs}
        if first:
            self._found = self.done

    def end(self, run: "SweepRun") -> None:
        """Take a cell that has ended."""
        self.runs[run.cell.key] = run
        self.running = {key: share for key, share in self.running.items() if key != run.cell.key}
