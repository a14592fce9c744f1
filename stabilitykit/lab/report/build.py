"""The report's page: sweeps, what parts two runs, what models cost, and runs, as many as fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stabilitykit.afterwards.replay import Replay
from stabilitykit.figures.page import buckets_for, contents, environment
from stabilitykit.lab.report.cost_view import CostView
from stabilitykit.lab.report.listing import Listed, listed_cells, listed_logs
from stabilitykit.lab.report.parting import Parting
from stabilitykit.lab.report.parting_view import parting_contents
from stabilitykit.lab.report.run_views import RunView
from stabilitykit.lab.report.sweep_views import SweepView

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
    costs: tuple[CostView, ...] = ()


def build_report(
    sweeps: Sequence[SweepView],
    logs: Sequence[tuple[Path, Replay]] = (),
    parted: Parting | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    budget: int = BUDGET,
    costs: Sequence[CostView] = (),
) -> Report:
    """Return the page of sweeps, costs and runs.

    Args:
        sweeps: Shown first, each with its pictures; a run of several sweeps is listed with the first.
        logs: Further runs, as they were diagnosed.
        parted: Where two runs part; they are the only ``logs`` then.
        on_progress: Called with how many runs were read, and of how many.
        budget: Bytes that runs told in full may take; those that failed come first.
        costs: Documents of what models cost.
    """
    listed = [*listed_logs(logs), *listed_cells(sweeps)]
    buckets = buckets_for(len(listed))
    told = _told(listed, buckets, budget, on_progress)
    template = environment(_HERE).get_template("report.html")
    page = template.render(
        heading=_heading(sweeps, listed, costs),
        sweeps=[view.contents() for view in sweeps],
        costs=[view.contents() for view in costs],
        parting=None if parted is None else parting_contents(parted, logs, buckets),
        groups=_grouped(listed, told),
        listed=len(listed),
        told=len(told),
        failed=sum(each.failed for each in listed),
    )
    return Report(page, len(listed), tuple(view for view, _ in told.values()), tuple(sweeps), tuple(costs))


def _told(
    listed: Sequence[Listed], buckets: int, budget: int, on_progress: Callable[[int, int], None] | None
) -> dict[str, tuple[RunView, Markup]]:
    """Return the runs that are told in full, as many as fit and at least one."""
    told: dict[str, tuple[RunView, Markup]] = {}
    used = 0
    for count, each in enumerate(sorted(listed, key=lambda run: run.rank), start=1):
        if told and budget - used < used / len(told):
            # No room for one more of the usual size.
            break
        view = each.view()
        body = _body(view, buckets)
        size = len(body.encode())
        if not told or used + size <= budget:
            told[each.key] = view, body
            used += size
        if on_progress is not None:
            on_progress(count, len(listed))
    return told


def _body(view: RunView, buckets: int) -> Markup:
    module: Any = environment(_HERE).get_template("run.html").module
    return Markup(module.run_body(contents(view.picture, buckets, view.maps)))


def _heading(sweeps: Sequence[SweepView], listed: Sequence[Listed], costs: Sequence[CostView]) -> str:
    if costs and not sweeps and not listed:
        return costs[0].title if len(costs) == 1 else f"Costs of {len(costs)} workloads"
    if len(sweeps) == 1:
        return sweeps[0].question
    if sweeps:
        return f"{len(sweeps)} sweeps"
    return " and ".join(each.title for each in listed) if len(listed) < 3 else f"{len(listed)} runs"


def _grouped(listed: Sequence[Listed], told: dict[str, tuple[RunView, Markup]]) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for each in listed:
        view, body = told.get(each.key, (None, None))
        groups.setdefault(each.group, []).append({"run": each, "view": view, "body": body})
    return [
        {"title": title, "runs": runs, "failed": sum(each["run"].failed for each in runs)}
        for title, runs in groups.items()
    ]
