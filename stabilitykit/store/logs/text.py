"""Text logs, read by the words before numbers, so that no framework need be known."""

from collections.abc import Iterator, Sequence

from stabilitykit.store.logs.names import is_validation
from stabilitykit.store.logs.numbers import number
from stabilitykit.store.logs.omissions import Omissions
from stabilitykit.store.logs.phrases import Finder, numbers_in, of_validation, without_colours
from stabilitykit.store.logs.row_source import LineSource, Row, Sample, Selection
from stabilitykit.store.logs.tables import TableLines
from stabilitykit.store.opening import LogFile


class TextRows(LineSource):
    """Rows of a text log; a line without a step belongs to the last step that was named above it.

    Args:
        file: The log.
        encoding: How its characters are written.
        omissions: Where it counts what it passes over.
    """

    title = "text log"
    prose = True
    lone_loss = False

    def __init__(self, file: LogFile, encoding: str, omissions: Omissions) -> None:
        super().__init__(file, encoding, omissions)
        self._finders: list[Finder] = []
        self._step: int | None = None
        self._last_step: float | None = None
        self._validates = False
        self._tables = TableLines()
        self._tables_at_head = self._tables

    def sample(self, ended: bool) -> Sample | None:
        """Return which words have numbers in the next lines, or None where there are no lines."""
        if not (lines := self.head(ended)):
            return None
        self._tables_at_head = self._tables.copied()
        rows = [numbers_in(self._tables.told(without_colours(line))) for line in lines]
        return Sample(tuple(dict.fromkeys(name for row in rows for name in row)), rows)

    def select(self, selection: Selection) -> None:
        """Say which columns rows shall hold."""
        self._finders = [Finder(name) for name in selection.names]
        self._step = selection.step
        self._validates = is_validation(selection.names[0])
        self._tables = self._tables_at_head

    def rows(self, ended: bool) -> Iterator[list[Row]]:
        """Yield rows in batches until there are none for now."""
        for batch in self.batches(ended):
            yield list(self._picked(batch))

    def _picked(self, lines: Sequence[str]) -> Iterator[Row]:
        for line in lines:
            line = self._tables.told(without_colours(line))
            found = [finder.find(line) for finder in self._finders]
            loss = found[0]
            if loss is not None and not self._validates and of_validation(line, loss[0]):
                self.omissions.count("lines of validation passed over", line)
                continue
            row = [
                None if each is None else _value(each[1], whole=at == self._step)
                for at, each in enumerate(found)
            ]
            read = len(row) - row.count(None)
            if self._step is not None:
                if row[self._step] is not None:
                    self._last_step = row[self._step]
                    read -= 1
                row[self._step] = self._last_step
            if read:
                yield row


def _value(text: str, whole: bool) -> float | None:
    try:
        return number(text, whole)
    except ValueError:
        return None
