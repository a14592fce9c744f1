"""The list of a report's runs: in which order they stand, and which are told in full first."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stabilitykit.afterwards.replay import Replay
from stabilitykit.lab.report.landscape import Ending, row_title
from stabilitykit.lab.report.landscapes import title_of
from stabilitykit.lab.report.run_views import RunView, view_of_cell, view_of_log
from stabilitykit.lab.report.sweep_views import SweepView
from stabilitykit.lab.sweep.grid import SweepRun


@dataclass(frozen=True)
class Listed:
    """A run in the list, and how to read it."""

    key: str
    """Its name in addresses and in names of files."""
    title: str
    """What it is called below its group's heading."""
    group: str
    outcome: str
    loss: float | None
    failed: bool
    how: str
    """How it failed, where its outcome does not say so."""
    rank: int
    """Runs of a lower rank are told in full first: what failed first, then the first seed of each setting."""
    view: Callable[[], RunView]
    """Reads it."""


def listed_logs(logs: Sequence[tuple[Path, Replay]]) -> Iterator[Listed]:
    """Yield logs as they were diagnosed."""
    for number, (path, replay) in enumerate(logs, start=1):
        # Names may be alike, and hold what neither an address nor a file's name may.
        key = f"{number}_{re.sub(r'[^a-zA-Z0-9_.-]', '_', path.name)}"
        outcome, laps = replay.verdict.outcome, replay.curves.loss.laps
        yield Listed(
            key=key,
            title=str(path),
            group="",
            outcome=outcome,
            loss=float(laps[-1].values[-1]) if laps else None,
            failed=outcome in ("stuck", "diverged"),
            how="",
            rank=0,
            view=partial(view_of_log, path, replay, key),
        )


def listed_cells(sweeps: Sequence[SweepView]) -> Iterator[Listed]:
    """Yield the runs of sweeps that have ended, row by row; one of several sweeps once, with the first."""
    seen: set[str] = set()
    for sweep in sweeps:
        runs = {run.cell.key: run for run in sweep.sweep.done}
        for group, ending, is_first in _endings(sweep, named=len(sweeps) > 1):
            if ending.run not in seen:
                seen.add(ending.run)
                rank = (0 if ending.failed else 1) if is_first else 2
                yield _listed(sweep, runs[ending.run], group, ending, rank)


def _endings(sweep: SweepView, named: bool) -> Iterator[tuple[str, Ending, bool]]:
    """Yield every ending, with its group's title and whether it is the one to look at in its setting."""
    for row in sweep.shown.rows:
        title = row_title(sweep.shown.row_names, row.names)
        group = f"{sweep.name}: {title}" if named else title
        for setting in row.settings:
            yield from ((group, ending, ending is setting.telling) for ending in setting.endings)


def _listed(sweep: SweepView, run: SweepRun, group: str, ending: Ending, rank: int) -> Listed:
    names = [axis.name for axis in sweep.sweep.plan.axes]
    return Listed(
        key=ending.run,
        title=title_of(run, [sweep.shown.x_name]),
        group=group,
        outcome=ending.outcome,
        loss=ending.final_loss,
        failed=ending.failed,
        how=ending.how if ending.how != ending.outcome else "",
        rank=rank,
        view=partial(view_of_cell, run, names),
    )
