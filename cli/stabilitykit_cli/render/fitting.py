"""Tables that leave columns out, rather than fold them, where the terminal is narrow."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table


@dataclass(frozen=True)
class Column:
    """One column."""

    title: str
    keep: int = 0
    """Those with the smallest number go first; 0 stays at any width."""
    left: bool = False
    """Whether cells stand at the left."""


@dataclass
class FittingTable:
    """A table of which as many columns are printed as fit."""

    columns: Sequence[Column]
    rows: list[tuple[Sequence[RenderableType], str | None]] = field(default_factory=list)
    """Cells with their style; no cells for a line between sections."""

    def add(self, *cells: RenderableType, style: str | None = None) -> None:
        """Add a row of one cell a column.

        Args:
            cells: The cells.
            style: Of the whole row.
        """
        self.rows.append((cells, style))

    def add_section(self) -> None:
        """Draw a line below the last row."""
        self.rows.append(((), None))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = list(range(len(self.columns)))
        while True:
            table = self._table(shown)
            wide = console.measure(table, options=options.update(max_width=10_000)).maximum
            leaving = [place for place in shown if self.columns[place].keep]
            if wide <= options.max_width or not leaving:
                yield table
                return
            shown.remove(min(leaving, key=lambda place: self.columns[place].keep))

    def _table(self, shown: Sequence[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for place in shown:
            column = self.columns[place]
            table.add_column(column.title, justify="left" if column.left else "right", overflow="fold")
        for cells, style in self.rows:
            if cells:
                table.add_row(*(cells[place] for place in shown), style=style)
            else:
                table.add_section()
        return table
