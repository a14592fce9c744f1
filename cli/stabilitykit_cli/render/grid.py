"""The verdict grid: a row for each setting, a column for each learning rate, a mark for each seed."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stabilitykit_cli.render.words import ASCII, OUTCOME_STYLES, UNICODE, Glyphs, setting

if TYPE_CHECKING:
    from stabilitykit.experiments.grid import SweepRun

MARKS = {
    UNICODE: {"stable": "●", "recovered": "◐", "stuck": "▬", "diverged": "▲", "crashed": "✗", "": "·"},
    ASCII: {"stable": "o", "recovered": "r", "stuck": "=", "diverged": "^", "crashed": "!", "": "."},
}
"""A mark for each outcome, told apart by its shape; without an outcome a cell waits."""
AT_WORK = {UNICODE: "◌", ASCII: "~"}
STYLES = {**OUTCOME_STYLES, "crashed": "magenta", "": "dim"}
_MOST_SEEDS = 4
_PER_ROW = 26
"""Columns that are left to the names of a row's values."""
COLUMN_AXIS = "optimizer.lr"


def short(name: str) -> str:
    """Return the last part of a field's path, by which people call it: ``lr``, ``warmup``."""
    return name.rpartition(".")[2]


def shown(value: Any) -> str:
    """Return a value as it would be typed."""
    return setting(float(value)) if isinstance(value, float) else str(value)


def fits(runs: "Sequence[SweepRun]", width: int, height: int) -> bool:
    """Return whether the grid of these runs can be shown in so many columns and rows."""
    rows, columns, seeds = _axes(runs)
    return len(rows) + 2 <= height and _PER_ROW + len(columns) * (_cell_width(columns, seeds) + 1) <= width


def verdict_grid(runs: "Sequence[SweepRun]", glyphs: Glyphs, at_work: Collection[str] = ()) -> RenderableType:
    """Return the grid.

    Args:
        runs: The cells, done or not.
        glyphs: Characters of the terminal.
        at_work: Keys of the cells that are being trained.
    """
    rows, columns, seeds = _axes(runs)
    names = [name for name in runs[0].cell.values if name != COLUMN_AXIS]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name in names:
        table.add_column(short(name), no_wrap=True)
    width = _cell_width(columns, seeds)
    for column in columns:
        table.add_column(shown(column) if column is not None else "", min_width=width, no_wrap=True)
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


def _cell_width(columns: Sequence[Any], seeds: Sequence[int]) -> int:
    marks = len(seeds) if len(seeds) <= _MOST_SEEDS else 5
    return max(marks, *(len(shown(column)) for column in columns))


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
    failed = sum(result.outcome not in ("stable", "recovered") for result in results)
    if not results:
        return Text("-", style="dim")
    return Text(f"{failed}/{len(results)}", style="red" if failed else "green")
