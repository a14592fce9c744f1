"""Jupyter notebooks: what their cells printed, and the tables that they show, read as one text."""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from stabilitykit.store.logs.columns import NoLossError
from stabilitykit.store.logs.text import TextRows

_LARGEST = 2**26
"""Characters a notebook may have: it is parsed as a whole."""


class NotebookRows(TextRows):
    """Rows of a notebook's output; a table in HTML is a table of the text."""

    title = "notebook"
    rewritten = True

    def _batches(self, ended: bool) -> Iterator[list[str]]:
        pieces: list[str] = []
        while piece := self.characters.read():
            pieces.append(piece)
            if sum(map(len, pieces)) > _LARGEST:
                raise NoLossError(
                    f"a notebook of more than {_LARGEST // 2**20} million characters is not read"
                )
        if pieces:
            yield list(_printed("".join(pieces)))


def _printed(text: str) -> Iterator[str]:
    """Yield the lines of all outputs, in the order of the cells."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise NoLossError("the notebook is cut or damaged") from None
    cells = document.get("cells") if isinstance(document, dict) else None
    for cell in cells if isinstance(cells, list) else ():
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        for output in outputs if isinstance(outputs, list) else ():
            yield from _lines_of(output)


def _lines_of(output: Any) -> Iterator[str]:
    if not isinstance(output, dict):
        return
    data = output.get("data")
    shown = data if isinstance(data, dict) else {}
    if "text/html" in shown:
        table = _Tables()
        table.feed(_joined(shown["text/html"]))
        if table.rows:
            yield from (f"| {' | '.join(row)} |" for row in table.rows)
            return
    traceback = output.get("traceback")
    for text in (output.get("text"), shown.get("text/plain"), traceback):
        yield from _joined(text).replace("\r", "\n").split("\n")


def _joined(text: Any) -> str:
    """Return a text that a notebook may hold as a list of its lines."""
    if isinstance(text, list):
        return "".join(part for part in text if isinstance(part, str))
    return text if isinstance(text, str) else ""


class _Tables(HTMLParser):
    """Collects the rows of the tables in a piece of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self._is_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._is_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._is_cell = False

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self.rows[-1][-1] += " ".join(data.split())
