"""What the pictures show, as tables for other programs."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from stabilitykit.experiments.grid import Sweep
from stabilitykit.figures.depth_map import DepthMap
from stabilitykit.figures.landscape import FailureOrder, Landscape


def sweep_tables(sweep: Sweep, shown: Landscape, order: FailureOrder) -> dict[str, str]:
    """Return the tables of a sweep as CSV, by their names.

    Args:
        sweep: The sweep.
        shown: How its runs ended.
        order: What left its band first.
    """
    return {
        "lr_loss": _lr_loss(sweep, shown),
        "verdicts": _verdicts(shown),
        "failure_order": _table(["first", *order.groups], ([what, *counts] for what, counts in order.rows)),
    }


def map_table(each: DepthMap) -> str:
    """Return a quantity over depth and steps as CSV: a row a span of steps, a column a site."""
    width = (each.span[1] - each.span[0]) // each.values.shape[1]
    cells = each.values.T.astype(object)
    cells[each.missing.T] = None
    rows = ([each.span[0] + at * width, *column] for at, column in enumerate(cells.tolist()))
    return _table(["step", *each.sites], rows)


def _lr_loss(sweep: Sweep, shown: Landscape) -> str:
    losses = ["outcome", "first_loss", "final_loss", "best_loss", "steps"]
    names = [axis.name for axis in sweep.plan.axes]
    rows = (
        [
            *(run.cell.values[name] for name in names),
            run.cell.seed,
            *(getattr(run.result, field, None) for field in losses),
            run.cell.key,
        ]
        for run in sweep.runs
    )
    return _table([*names, "seed", *losses, "run"], rows)


def _verdicts(shown: Landscape) -> str:
    rows = (
        [*row.names, setting.x, setting.asked, len(setting.endings), setting.failed, setting.mean_loss]
        for row in shown.rows
        for setting in row.settings
    )
    return _table([*shown.row_names, shown.x_name, "seeds", "done", "failed", "mean_loss"], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
