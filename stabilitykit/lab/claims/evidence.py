"""What claims are judged by: the results of a sweep's runs, and the readings that are asked for."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from stabilitykit.errors import RunFolderError
from stabilitykit.lab.sweep.compare.intervals import Bracket
from stabilitykit.lab.sweep.compare.results import Results
from stabilitykit.lab.sweep.grid import Sweep, SweepRun
from stabilitykit.store import Run, open_run


class Series(NamedTuple):
    """One number a step."""

    steps: Int[np.ndarray, "n"]
    values: Float[np.ndarray, "n"]


class Found(NamedTuple):
    """What the seeds of a claim's runs say."""

    by_seed: dict[int, Bracket]
    note: str = ""
    """Which seeds say nothing, and why; empty where all do."""


class Evidence(Results):
    """The results of a sweep, and its runs' readings, of which only the columns asked for are read.

    Args:
        sweep: As it is on disk.
    """

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(sweep)
        self._opened: dict[Path, Run | None] = {}

    def tags(self, run: SweepRun) -> tuple[str, ...]:
        """Return the tags of a run's readings; none where its folder cannot be read."""
        opened = self._open(run)
        return opened.tags if opened else ()

    def series(self, run: SweepRun, tag: str) -> Series:
        """Return the readings of one tag, NaN among them; empty where there are none."""
        opened = self._open(run)
        if opened is None or tag not in opened.tags:
            return Series(np.empty(0, np.int64), np.empty(0))
        steps, values = opened.column(tag)
        return Series(steps, values.astype(np.float64))

    def _open(self, run: SweepRun) -> Run | None:
        if run.folder not in self._opened:
            try:
                self._opened[run.folder] = open_run(run.folder)
            except RunFolderError:
                # A run that crashed before its first step has none, and a folder may have been thinned out.
                self._opened[run.folder] = None
        return self._opened[run.folder]
