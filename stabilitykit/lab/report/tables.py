"""What the pictures show, as tables for other programs."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from stabilitykit.figures.depth_map import DepthMap
from stabilitykit.lab.claims import ClaimResult
from stabilitykit.lab.report.landscape import FailureOrder, Landscape
from stabilitykit.lab.sweep.compare import Summary
from stabilitykit.lab.sweep.grid import Sweep


def sweep_tables(
    sweep: Sweep,
    shown: Landscape,
    order: FailureOrder,
    summaries: Sequence[Summary],
    claims: Sequence[ClaimResult],
) -> dict[str, str]:
    """Return the tables of a sweep as CSV, by their names.

    Args:
        sweep: The sweep.
        shown: How its runs ended.
        order: What left its band first.
        summaries: What each combination of the axes other than the learning rate says.
        claims: What became of the claims; without any there is no table of them.
    """
    tables = {
        "lr_loss": _lr_loss(sweep, shown),
        "verdicts": _verdicts(shown),
        "failure_order": csv_table(
            ["first", *order.groups], ([what, *counts] for what, counts in order.rows)
        ),
        "summary": _summary(summaries),
    }
    return tables | ({"claims": _claims(claims)} if claims else {})


def map_table(each: DepthMap) -> str:
    """Return a quantity over depth and steps as CSV: a row a span of steps, a column a site."""
    width = (each.span[1] - each.span[0]) // each.values.shape[1]
    cells = each.values.T.astype(object)
    cells[each.missing.T] = None
    rows = ([each.span[0] + at * width, *column] for at, column in enumerate(cells.tolist()))
    return csv_table(["step", *each.sites], rows)


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
    return csv_table([*names, "seed", *losses, "run"], rows)


def _verdicts(shown: Landscape) -> str:
    rows = (
        [*row.names, setting.x, setting.asked, len(setting.endings), setting.failed, setting.mean_loss]
        for row in shown.rows
        for setting in row.settings
    )
    return csv_table([*shown.row_names, shown.x_name, "seeds", "done", "failed", "mean_loss"], rows)


def _summary(summaries: Sequence[Summary]) -> str:
    names = list(summaries[0].values) if summaries else []
    told = ["failed", "stable_lr_max", "best_loss", "lr_sensitivity"]
    head = [f"{each}{end}" for each in told for end in ("", "_low", "_high")]
    rows = (
        [
            *each.values.values(),
            each.best_lr,
            *(
                value
                for name in told
                for found in [getattr(each, name)]
                for value in (found.value, found.low, found.high)
            ),
            each.stable_lr_max.censored,
        ]
        for each in summaries
    )
    return csv_table([*names, "best_lr", *head, "stable_lr_max_is_least"], rows)


def _claims(claims: Sequence[ClaimResult]) -> str:
    head = ["says", "outcome", "value", "low", "high", "band_low", "band_high", "n", "unit", "note"]
    rows = (
        [each.says, each.outcome, each.value, each.low, each.high, *each.band, each.n, each.unit, each.note]
        for each in claims
    )
    return csv_table(head, rows)


def csv_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV.

    Args:
        head: Names of the columns.
        rows: As many values each; None is an empty cell.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
