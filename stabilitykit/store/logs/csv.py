"""CSV: a header, one row a step, or a few; ``,``, ``;``, tabs or blanks between the cells."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress

from stabilitykit.store.logs.columns import NoLossError
from stabilitykit.store.logs.names import is_validation, splits_rows
from stabilitykit.store.logs.numbers import number
from stabilitykit.store.logs.omissions import Omissions, shortened
from stabilitykit.store.logs.row_source import LineSource, Row, Sample, Selection
from stabilitykit.store.opening import LogFile

_SAMPLED = 500
"""Rows that show what the columns hold."""


class CsvRows(LineSource):
    """Rows of a CSV log. The first line names the columns, unless it holds nothing but numbers.

    Args:
        file: The log.
        encoding: How its characters are written.
        omissions: Where it counts what it passes over.
    """

    title = "CSV"

    def __init__(self, file: LogFile, encoding: str, omissions: Omissions) -> None:
        super().__init__(file, encoding, omissions)
        self._header: list[str] = []
        self._delimiter = ","
        self._above = 0
        """Lines up to and with the header."""
        self._read = 0
        """Lines read so far."""
        self._places: list[int] = []
        self._step: int | None = None
        self._split_at: int | None = None

    def sample(self, ended: bool) -> Sample | None:
        """Return the header and what its first rows hold."""
        if self._header:
            return None
        lines = self.head(ended)
        at = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
        if at is None and self.omissions.notes:
            return None
        if at is None:
            raise NoLossError("empty; a CSV log begins with a header such as 'step,loss'")
        first = lines[at]
        self._delimiter = delimiter_of(first)
        cells = cells_of(first, self._delimiter)
        if all(_is_number(cell) for cell in cells):
            self._header = self._names_above(lines[:at], len(cells))
            self._above = at
        else:
            self._header, self._above = cells, at + 1
        self._note_duplicates()
        self._split_at = next((i for i, name in enumerate(self._header) if splits_rows(name)), None)
        rows = []
        for line in lines[self._above : self._above + _SAMPLED]:
            row = _split(line, self._delimiter)
            if len(row) == len(self._header):
                rows.append(_numbers(dict(zip(self._header, row, strict=True))))
        return Sample(tuple(dict.fromkeys(self._header)), rows)

    def select(self, selection: Selection) -> None:
        """Say which columns rows shall hold."""
        self._places = [self._header.index(name) for name in selection.names]
        self._step = selection.step

    def rows(self, ended: bool) -> Iterator[list[Row]]:
        """Yield rows in batches until there are none for now."""
        for batch in self.batches(ended):
            before, self._read = self._read, self._read + len(batch)
            skipped = min(len(batch), max(0, self._above - before))
            yield list(self._picked(batch[skipped:], before + skipped))

    def _picked(self, lines: Sequence[str], before: int) -> Iterator[Row]:
        width, places, split_at = len(self._header), self._places, self._split_at
        for number_of_it, line in enumerate(lines, start=before + 1):
            cells = _split(line, self._delimiter)
            if len(cells) != width and (len(cells) < width or any(cells[width:])):
                self._passed_over(line)
                continue
            if split_at is not None and is_validation(cells[split_at]):
                self.omissions.count("rows of validation passed over")
                continue
            try:
                yield [float(cells[at]) for at in places]
            except ValueError:
                row = self._slowly(cells, number_of_it)
                if row is not None:
                    yield row

    def _slowly(self, cells: Sequence[str], line: int) -> Row | None:
        """Return a row some of whose cells are empty, or written otherwise; None where one is no number."""
        row: Row = []
        for at in self._places:
            try:
                row.append(number(cells[at], whole=len(row) == self._step))
            except ValueError:
                if [cell.strip() for cell in cells] == self._header:
                    self.omissions.count("headers that stand again among the rows")
                    return None
                name, cell = self._header[at], shortened(cells[at])
                self.omissions.cannot_read(
                    f"line {line}: column {name!r} holds {cell!r}; accepted: a number, nan, inf or nothing"
                )
                return None
        return row

    def _passed_over(self, line: str) -> None:
        if line.strip(self._delimiter + " \r"):
            self.omissions.count(f"rows without {len(self._header)} cells passed over", line)

    def _names_above(self, comments: Sequence[str], width: int) -> list[str]:
        """Return the names of columns without a header: those of a comment above, or numbers."""
        for comment in reversed(comments):
            names = cells_of(comment.lstrip("# "), self._delimiter)
            if len(names) == width:
                return names
        self.omissions.say("no header: columns are called by their number")
        return [f"column {at}" for at in range(1, width + 1)]

    def _note_duplicates(self) -> None:
        for name in dict.fromkeys(self._header):
            if name and (times := self._header.count(name)) > 1:
                self.omissions.say(f"column {name!r} stands {times} times in the header; the first is read")


def cells_of(line: str, delimiter: str) -> list[str]:
    """Return the cells of one line, without the blanks around them."""
    return [cell.strip() for cell in _split(line, delimiter)]


def delimiter_of(line: str) -> str:
    """Return what stands between the cells of a header."""
    found = max(",;\t", key=line.count)
    return found if found in line or len(line.split()) < 2 else " "


def _split(line: str, delimiter: str) -> list[str]:
    """Return the cells of one line. A quote that is never closed must not swallow the lines below it."""
    if '"' not in line:
        return line.split(None if delimiter == " " else delimiter)
    # A quoted cell of 131,072 characters is no number.
    with suppress(csv.Error):
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return []


def _is_number(cell: str) -> bool:
    try:
        return number(cell) is not None
    except ValueError:
        return False


def _numbers(cells: dict[str, str]) -> dict[str, float]:
    found = {}
    for name, cell in cells.items():
        with suppress(ValueError):
            if (value := number(cell)) is not None:
                found[name] = value
    return found
