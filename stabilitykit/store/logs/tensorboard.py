"""TensorBoard event files, whoever wrote them; those of one folder are one run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from tensorboard.compat.proto.event_pb2 import Event

from stabilitykit.store.event_names import event_files
from stabilitykit.store.event_stream import EventStream, scalar
from stabilitykit.store.logs.columns import NoLossError
from stabilitykit.store.logs.names import STEP
from stabilitykit.store.logs.omissions import Omissions
from stabilitykit.store.logs.row_source import Row, RowSource, Sample, Selection
from stabilitykit.store.opening import LogFile

_SAMPLED = 5_000
_BATCH = 2_000
_Scalars = tuple[int, dict[str, float]]
"""A step and what was written at it."""


class TensorBoardRows(RowSource):
    """Rows of event files: scalars written one after the other for one step are one row.

    Args:
        path: A folder with event files, or one of them.
        omissions: Where it counts what it passes over.
    """

    title: ClassVar[str] = "TensorBoard events"
    # A folder may hold one scalar of anything, as that of hyperparameters does.
    lone_loss: ClassVar[bool] = False

    def __init__(self, path: Path, omissions: Omissions) -> None:
        super().__init__([], omissions)
        self._path = path
        self._opened: set[Path] = set()
        self._streams: dict[LogFile, EventStream] = {}
        self._row: _Scalars | None = None
        self._head: list[_Scalars] = []
        self._names: tuple[str, ...] = ()

    def sample(self, ended: bool) -> Sample | None:
        """Return which tags the next events have, or None where there are none."""
        taken = self._take(_SAMPLED, ended)
        if not self._opened:
            raise NoLossError("no TensorBoard event file (events.out.tfevents.*) in it")
        if not taken:
            return None
        self._head = taken
        rows = [{**scalars, STEP: float(step)} for step, scalars in self._head]
        tags = dict.fromkeys(tag for _, scalars in self._head for tag in scalars)
        return Sample((STEP, *(tag for tag in tags if tag != STEP)), rows)

    def select(self, selection: Selection) -> None:
        """Say which tags rows shall hold."""
        self._names = selection.names

    def rows(self, ended: bool) -> Iterator[list[Row]]:
        """Yield rows in batches until there are none for now."""
        head, self._head = self._head, []
        if head:
            yield self._picked(head)
        while batch := self._take(_BATCH, ended):
            yield self._picked(batch)

    def _picked(self, batch: Sequence[_Scalars]) -> list[Row]:
        rows: list[Row] = []
        for step, scalars in batch:
            scalars[STEP] = float(step)
            if len(scalars) > 1:
                rows.append([scalars.get(name) for name in self._names])
        return rows

    def _take(self, n: int, ended: bool) -> list[_Scalars]:
        taken: list[_Scalars] = []
        for event in self._events(ended):
            step = event.step
            for value in event.summary.value:
                if (number := scalar(value)) is None:
                    continue
                tag = value.tag
                # What is written twice for a step is a row of its own, and counts.
                if self._row is None or self._row[0] != step or tag in self._row[1]:
                    if self._row is not None:
                        taken.append(self._row)
                    self._row = (step, {})
                self._row[1][tag] = number
            if len(taken) >= n:
                return taken
        if self._row is not None:
            taken.append(self._row)
            self._row = None
        return taken

    def _events(self, ended: bool) -> Iterator[Event]:
        """Yield the events of all files, of those too that were begun since."""
        for path in (path for path in event_files(self._path) if path not in self._opened):
            self._opened.add(path)
            file = LogFile(path)
            self.files.append(file)
            self._streams[file] = EventStream(file)
        for file, stream in list(self._streams.items()):
            yield from stream.events()
            if ended:
                stream.end()
                file.close()
                self.files.remove(file)
                del self._streams[file]
            for damage in stream.damage:
                self.omissions.say(f"{file.path.name}: {damage}")
            if file.stopped is not None:
                self.omissions.say(f"{file.path.name}: {file.stopped}")
