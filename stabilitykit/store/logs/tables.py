"""Tables inside a text: each row is told as words and numbers of a line, ``Step: 50 | Training Loss: 0.6``.

Markdown's, those that consoles draw of bars and lines, and columns that blanks keep apart.
"""

import re

from stabilitykit.store.logs import names as known
from stabilitykit.store.logs.numbers import number

_BARS = re.compile(r"[|\u2502\u2503\u2551]")
_DIGIT = re.compile(r"\d")
_WIDE = re.compile(r"\s{2,}|\t")
_WORD = re.compile(r"[A-Za-z_][\w./%()\- ]*")


class TableLines:
    """Tells the rows of tables as lines of text; every other line stays as it is."""

    def __init__(self) -> None:
        self._header: tuple[str, ...] = ()
        self._has_bars = False

    def copied(self) -> "TableLines":
        """Return another one at the same place of the same text."""
        other = TableLines()
        other._header, other._has_bars = self._header, self._has_bars
        return other

    def told(self, line: str) -> str:
        """Return a line, or what a table's row says; a header or a rule between rows says nothing."""
        has_bars = _BARS.search(line) is not None
        if _DIGIT.search(line) is None:
            header = _header(line, has_bars)
            if header:
                self._header, self._has_bars = header, has_bars
                return ""
        if not self._header or has_bars != self._has_bars:
            return line
        cells = _cells(line, has_bars)
        if len(cells) != len(self._header):
            cells = line.split()
        if len(cells) != len(self._header) or not _is_row(cells):
            return line
        return _as_text(self._header, cells)


def _cells(line: str, has_bars: bool) -> list[str]:
    if has_bars:
        return [cell.strip() for cell in _BARS.split(line.strip().strip("|\u2502\u2503\u2551"))]
    wide = [cell for cell in _WIDE.split(line.strip()) if cell]
    return wide if len(wide) > 1 else line.split()


def _header(line: str, has_bars: bool) -> tuple[str, ...]:
    """Return the names in a line that is nothing but names, one of them a loss; empty where it is not."""
    if "loss" not in line.lower() and not has_bars:
        return ()
    cells = _cells(line, has_bars)
    if len(cells) < 2 or not all(_WORD.fullmatch(cell) for cell in cells if cell):
        return ()
    speaks = any(known.is_called_loss(cell) or known.may_be_loss(cell) for cell in cells)
    return tuple(cells) if speaks else ()


def _is_row(cells: list[str]) -> bool:
    numeric = sum(_value(cell) is not None for cell in cells)
    return 2 * numeric >= len(cells) or (numeric > 1 and any(cell == "" for cell in cells))


def _as_text(header: tuple[str, ...], cells: list[str]) -> str:
    # What is of validation last: behind such a word a text's loss is of validation, too.
    pairs = sorted(zip(header, cells, strict=True), key=lambda pair: known.is_validation(pair[0]))
    return " | ".join(f"{name}: {cell}" for name, cell in pairs if name and _value(cell) is not None)


def _value(cell: str) -> float | None:
    try:
        return number(cell, whole=True)
    except ValueError:
        return None
