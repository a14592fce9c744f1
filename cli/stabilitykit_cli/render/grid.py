"""The verdict grid: a row for each setting, a column for each learning rate, a mark for each seed."""

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stabilitykit.lab.report.landscape import short
from stabilitykit.lab.sweep.grid import held
from stabilitykit.records import OUTCOMES
from stabilitykit_cli.render.words import ASCII, OUTCOME_STYLES, UNICODE, Glyphs, setting

if TYPE_CHECKING:
    from stabilitykit.lab.sweep.grid import SweepRun

MARKS = {
    UNICODE: dict(zip(OUTCOMES, "●◐◇▬▲", strict=True)) | {"crashed": "✗", "": "·"},
    ASCII: dict(zip(OUTCOMES, "or?=^", strict=True)) | {"crashed": "!", "": "."},
}
"""A mark for each outcome, told apart by its shape; without an outcome a cell waits."""
AT_WORK = {UNICODE: "◌", ASCII: "~"}
STYLES = {**OUTCOME_STYLES, "crashed": "magenta", "": "dim"}
_MOST_SEEDS = 4
COLUMN_AXIS = "optimizer.lr"


def shown(value: Any) -> str:
    """Return a value as it would be typed."""
    return setting(float(value)) if isinstance(value, float) else str(value)


def fits(runs: "Sequence[SweepRun]", width: int, height: int) -> bool:
    """Return whether the grid of these runs can be shown in so many columns and rows."""
    rows, columns, seeds = _axes(runs)
    return len(rows) + 2 <= height and _width(runs, _brief(columns), seeds) <= width


def verdict_grid(
    runs: "Sequence[SweepRun]", glyphs: Glyphs, width: int, at_work: Collection[str] = ()
) -> RenderableType:
    """Return the grid.

    Args:
        runs: The cells, done or not.
        glyphs: Characters of the terminal.
        width: Its columns; where they are few, what lies between powers of ten is written as their multiple.
        at_work: Keys of the cells that are being trained.
    """
    rows, columns, seeds = _axes(runs)
    names = [name for name in runs[0].cell.values if name != COLUMN_AXIS]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name in names:
        table.add_column(short(name), no_wrap=True)
    titles = [shown(column) if column is not None else "" for column in columns]
    if _width(runs, titles, seeds) > width:
        titles = _brief(columns)
    for title in titles:
        table.add_column(title, min_width=_cell_width(titles, seeds), no_wrap=True)
    places = {(_row(run), run.cell.values.get(COLUMN_AXIS), run.cell.seed): run for run in runs}
    before: tuple[str, ...] = ()
    for row in rows:
        labels = [shown(value) for value in row]
        # What a row shares with the one above it is not said again.
        told = [
            "" if labels[: at + 1] == list(before[: at + 1]) else label for at, label in enumerate(labels)
        ]
        before = tuple(labels)
        marks = [
            _marks([places.get((row, column, seed)) for seed in seeds], glyphs, at_work) for column in columns
        ]
        table.add_row(*told, *marks)
    return table


def legend(runs: "Sequence[SweepRun]", glyphs: Glyphs) -> Text:
    """Return what the marks mean that the grid of these runs can have."""
    outcomes = {run.result.outcome if run.result else "" for run in runs}
    names = {"": "not yet"}
    line = Text()
    for outcome, mark in MARKS[glyphs].items():
        if outcome in outcomes:
            line.append(f"{mark} ", STYLES[outcome]).append(f"{names.get(outcome, outcome)}   ", "dim")
    return line


def counts(runs: "Sequence[SweepRun]", glyphs: Glyphs) -> RenderableType:
    """Return how many cells ended how, where there is no room for the grid."""
    outcomes = [run.result.outcome if run.result else "" for run in runs]
    line = Text()
    for outcome, mark in MARKS[glyphs].items():
        if outcome in outcomes:
            line.append(f"{mark} {outcomes.count(outcome)} {outcome or 'not yet'}   ", STYLES[outcome])
    return line


def _axes(
    runs: "Sequence[SweepRun]",
) -> "tuple[list[tuple[Any, ...]], list[Any], list[int]]":
    rows = list(dict.fromkeys(_row(run) for run in runs))
    columns = list(dict.fromkeys(run.cell.values.get(COLUMN_AXIS) for run in runs))
    numbers = all(isinstance(column, int | float) for column in columns)
    return rows, sorted(columns) if numbers else columns, sorted({run.cell.seed for run in runs})


def _row(run: "SweepRun") -> tuple[Any, ...]:
    return tuple(value for name, value in run.cell.values.items() if name != COLUMN_AXIS)


def _width(runs: "Sequence[SweepRun]", titles: Sequence[str], seeds: Sequence[int]) -> int:
    """Return the columns that a grid takes."""
    names = [name for name in runs[0].cell.values if name != COLUMN_AXIS]
    widest = [max(len(short(name)), *(len(shown(run.cell.values[name])) for run in runs)) for name in names]
    return sum(each + 1 for each in widest) + len(titles) * (_cell_width(titles, seeds) + 1)


def _brief(columns: Sequence[Any]) -> list[str]:
    """Return short titles: of numbers powers of ten, and between them how many times the last one."""
    titles: list[str] = []
    for column in columns:
        if not isinstance(column, float) or column <= 0:
            titles.append("" if column is None else shown(column))
            continue
        times = column / 10 ** math.floor(math.log10(column) + 1e-9)
        titles.append(shown(column) if not titles or times < 1.001 else f"×{times:.2g}")
    return titles


def _cell_width(titles: Sequence[str], seeds: Sequence[int]) -> int:
    marks = len(seeds) if len(seeds) <= _MOST_SEEDS else 5
    return max(marks, *map(len, titles))


def _marks(runs: "Sequence[SweepRun | None]", glyphs: Glyphs, at_work: Collection[str]) -> Text:
    if len(runs) > _MOST_SEEDS:
        return _share(runs)
    text = Text()
    for run in runs:
        if run is None:
            text.append(" ")
        elif run.result is None and run.cell.key in at_work:
            text.append(AT_WORK[glyphs], "cyan")
        else:
            outcome = run.result.outcome if run.result else ""
            text.append(MARKS[glyphs][outcome], STYLES[outcome])
    return text


def _share(runs: "Sequence[SweepRun | None]") -> Text:
    """Return how many of many seeds failed."""
    results = [run.result for run in runs if run is not None and run.result is not None]
    failed = sum(not held(result) for result in results)
    if not results:
        return Text("-", style="dim")
    return Text(f"{failed}/{len(results)}", style="red" if failed else "green")
