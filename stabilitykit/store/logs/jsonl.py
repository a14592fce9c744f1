"""JSONL: one object a line, as most home-made loggers and W&B's history write it."""

from collections.abc import Iterator, Sequence

from stabilitykit.store.logs.objects import ObjectPicker, parsed
from stabilitykit.store.logs.omissions import Omissions
from stabilitykit.store.logs.row_source import LineSource, Row, Sample, Selection
from stabilitykit.store.opening import LogFile


class JsonlRows(LineSource):
    """Rows of a JSONL log; lines that are no JSON object are passed over.

    Args:
        file: The log.
        encoding: How its characters are written.
        omissions: Where it counts what it passes over.
    """

    title = "JSONL"

    def __init__(self, file: LogFile, encoding: str, omissions: Omissions) -> None:
        super().__init__(file, encoding, omissions)
        self._picker = ObjectPicker(omissions, "line")
        self._read = 0

    def sample(self, ended: bool) -> Sample | None:
        """Return which columns the next lines have, or None where there are none."""
        before = sum(map(len, self._head))
        if not (lines := self.head(ended)):
            return None
        # Stretches without a loss are passed over for good, but counted.
        self._read += before
        return self._picker.sample([found for line in lines if (found := parsed(line)) is not None])

    def select(self, selection: Selection) -> None:
        """Say which columns rows shall hold."""
        self._picker.select(selection)

    def rows(self, ended: bool) -> Iterator[list[Row]]:
        """Yield rows in batches until there are none for now."""
        for batch in self.batches(ended):
            yield list(self._picked(batch))
            self._read += len(batch)

    def _picked(self, lines: Sequence[str]) -> Iterator[Row]:
        for at, line in enumerate(lines, start=self._read + 1):
            document = parsed(line)
            if document is None:
                if line.strip():
                    self.omissions.count("lines that are no JSON object passed over", line)
            elif (row := self._picker.pick(document, at)) is not None:
                yield row
