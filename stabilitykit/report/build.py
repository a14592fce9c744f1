"""The report's page: sweeps, what parts two runs, and runs, as many as fit."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stabilitykit.figures.landscape import row_title
from stabilitykit.figures.page import buckets_for, contents, environment
from stabilitykit.replay import Replay
from stabilitykit.report.landscapes import title_of
from stabilitykit.report.parting import Parting
from stabilitykit.report.parting_view import parting_contents
from stabilitykit.report.run_views import RunView, view_of_cell, view_of_log
from stabilitykit.report.sweep_views import SweepView

BUDGET = 6_500_000
"""Bytes of runs told in full; a page that can still be sent stays below 8 MB."""
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Report:
    """A page, and what it was made of."""

    page: str
    runs: int
    """Runs that are listed."""
    views: tuple[RunView, ...]
    """Those that are told in full."""
    sweeps: tuple[SweepView, ...]


@dataclass(frozen=True)
class _Listed:
    """A run in the list, and how to read it."""

    key: str
    title: str
    """What it is called below its group's heading."""
    group: str
    outcome: str
    loss: float | None
    failed: bool
    how: str
    """How it failed, where its outcome does not say so."""
    rank: int
    """Runs of a lower rank are told in full first."""
    view: Callable[[], RunView]


def build_report(
    sweeps: Sequence[SweepView],
    logs: Sequence[tuple[Path, Replay]] = (),
    parted: Parting | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    budget: int = BUDGET,
) -> Report:
    """Return the page of sweeps and runs.

    Args:
        sweeps: Shown first, each with its pictures; a run of several sweeps is listed with the first.
        logs: Further runs, as they were diagnosed.
        parted: Where two runs part; they are the only ``logs`` then.
        on_progress: Called with how many runs were read, and of how many.
        budget: Bytes that runs told in full may take; those that failed come first.
    """
    listed = [*_of_logs(logs), *_of_sweeps(sweeps)]
    buckets, told = buckets_for(len(listed)), {}
    views: list[RunView] = []
    left = budget
    for count, each in enumerate(sorted(listed, key=lambda run: run.rank)):
        if left <= 0:
            break
        view = each.view()
        body = _body(view, buckets)
        left -= len(body.encode())
        told[each.key] = {"body": body, "note": view.note, "incidents": len(view.picture.verdict.incidents)}
        views.append(view)
        if on_progress is not None:
            on_progress(count + 1, len(listed))
    page = (
        environment(_HERE)
        .get_template("report.html")
        .render(
            heading=_heading(sweeps, listed),
            sweeps=[view.contents() for view in sweeps],
            parting=None if parted is None else parting_contents(parted, logs, buckets),
            groups=_grouped(listed, told),
            listed=len(listed),
            told=len(told),
            failed=sum(each.failed for each in listed),
        )
    )
    return Report(page, len(listed), tuple(views), tuple(sweeps))


def _body(view: RunView, buckets: int) -> Markup:
    module: Any = environment(_HERE).get_template("run.html").module
    return Markup(module.run_body(contents(view.picture, buckets, view.maps)))


def _heading(sweeps: Sequence[SweepView], listed: Sequence[_Listed]) -> str:
    if len(sweeps) == 1:
        return sweeps[0].question
    if sweeps:
        return f"{len(sweeps)} sweeps"
    return " and ".join(each.title for each in listed) if len(listed) < 3 else f"{len(listed)} runs"


def _of_logs(logs: Sequence[tuple[Path, Replay]]) -> Iterator[_Listed]:
    for number, (path, replay) in enumerate(logs, start=1):
        # Names may be alike, and hold what neither an address nor a file's name may.
        key = f"{number}_{re.sub(r'[^a-zA-Z0-9_.-]', '_', path.name)}"
        outcome, values = replay.verdict.outcome, replay.curves.loss.laps
        loss = float(values[-1].values[-1]) if values else None
        failed = outcome in ("stuck", "diverged")
        yield _Listed(
            key, str(path), "", outcome, loss, failed, "", 0, partial(view_of_log, path, replay, key)
        )


def _of_sweeps(sweeps: Sequence[SweepView]) -> Iterator[_Listed]:
    seen: set[str] = set()
    for sweep in sweeps:
        names = [axis.name for axis in sweep.sweep.plan.axes]
        runs = {run.cell.key: run for run in sweep.sweep.done}
        for row in sweep.shown.rows:
            title = row_title(sweep.shown.row_names, row.names)
            group = f"{sweep.name}: {title}" if len(sweeps) > 1 else title
            for setting in row.settings:
                for ending in setting.endings:
                    if ending.run in seen:
                        continue
                    seen.add(ending.run)
                    first = setting.telling is ending
                    rank = (0 if ending.failed else 1) if first else 2
                    run = runs[ending.run]
                    yield _Listed(
                        ending.run,
                        title_of(run, [sweep.shown.x_name]),
                        group,
                        ending.outcome,
                        ending.final_loss,
                        ending.failed,
                        ending.how if ending.how != ending.outcome else "",
                        rank,
                        partial(view_of_cell, run, names),
                    )


def _grouped(listed: Sequence[_Listed], told: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for each in listed:
        groups.setdefault(each.group, []).append({"run": each, "told": told.get(each.key)})
    return [
        {"title": title, "runs": runs, "failed": sum(each["run"].failed for each in runs)}
        for title, runs in groups.items()
    ]
