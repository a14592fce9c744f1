"""One log, of whatever format, as step records."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from stabilitykit.errors import DataError
from stabilitykit.plugins import plugins
from stabilitykit.records import StepRecord
from stabilitykit.store.logs.columns import Columns, NoLossError, find_columns
from stabilitykit.store.logs.csv import CsvRows
from stabilitykit.store.logs.document import DocumentRows
from stabilitykit.store.logs.jsonl import JsonlRows
from stabilitykit.store.logs.lines import encoding_of
from stabilitykit.store.logs.mlflow import MlflowRows, is_mlflow_run
from stabilitykit.store.logs.names import EPOCH, LOSS, STEP, is_named_validation
from stabilitykit.store.logs.notebook import NotebookRows
from stabilitykit.store.logs.omissions import Omissions
from stabilitykit.store.logs.recognition import HEAD, LogFormat, recognise
from stabilitykit.store.logs.row_source import FileSource, RowSource, Selection
from stabilitykit.store.logs.text import TextRows
from stabilitykit.store.logs.timeline import Timeline
from stabilitykit.store.logs.trainer_state import TrainerStateRows
from stabilitykit.store.opening import LogFile

READERS_GROUP = "stabilitykit.logs"
"""Entry points of readers that other packages offer: subclasses of ``FileSource``."""
_SOURCES: Mapping[str, type[FileSource]] = {
    "csv": CsvRows,
    "json": DocumentRows,
    "jsonl": JsonlRows,
    "notebook": NotebookRows,
    "text": TextRows,
    "trainer_state": TrainerStateRows,
}
_RECURS = 3
"""Rows with a loss after which a text, or a log that grows, is understood.

What comes first may be a line of another sort, as nanoGPT's estimate before its first step.
"""
_FARTHEST = 2**26
"""Bytes within which a loss must turn up: a corpus is no log, however long one looks."""


@cache
def installed_readers() -> tuple[type[FileSource], ...]:
    """Return the readers that installed packages offer; looked for once, for a folder may hold many logs."""
    return tuple(plugins(READERS_GROUP))


class LogReading:
    """A log as step records, and how it was understood.

    Args:
        path: A file, or a folder of TensorBoard's event files, or a run of MLflow's.
        given: Tag, or ``step``, to the column that was asked for; found by name where None.
        format: What it is; found by its content when absent.
        growing: Whether it may grow: its last line is left until it has ended.
        readers: Formats of the user's own, asked before the built-in ones, and before those that installed
            packages offer under ``stabilitykit.logs``.

    Raises:
        DataError: There is no such log, nothing in it, or no loss; one line says which.
    """

    def __init__(
        self,
        path: Path,
        given: Mapping[str, str | None],
        format: LogFormat | None = None,
        growing: bool = False,
        readers: Sequence[type[FileSource]] = (),
    ) -> None:
        self.path = path
        self._given, self._format, self._growing = given, format, growing
        self._readers = (*readers, *installed_readers())
        self._begun = False
        self._begin()

    @property
    def records(self) -> Iterator[StepRecord]:
        """The step records, each step once, read as one goes through them; may be asked for again.

        Raises:
            DataError: No step has a loss, or as many rows cannot be read as can.
        """
        if self._begun:
            self.close()
            self._begin()
        self._begun = True
        return self._all()

    def more(self) -> Iterator[StepRecord]:
        """Yield the records that a growing log holds beyond those given out, all but the newest."""
        self._begun = True
        fresh = False
        for rows in self._source.rows(ended=False):
            fresh = True
            yield from self._timeline.push(rows)
        # The newest step may lack readings still, unless nothing came since the last time.
        yield from self._timeline.settle(keep=int(fresh))

    def end(self) -> Iterator[StepRecord]:
        """Yield what is left of a log that has grown and grows no more."""
        for rows in self._source.rows(ended=True):
            yield from self._timeline.push(rows)
        yield from self._timeline.settle()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was passed over or concluded so far, one line each."""
        return (*self._columns.notes, *self._left_out())

    @property
    def went_back(self) -> int:
        """Rows of steps before the newest that had been given out: a growing log's run was taken up again."""
        return self._timeline.went_back

    @property
    def replaced(self) -> bool:
        """Whether what was read is not what is there now: the log was rotated, cut, or is written anew."""
        files = self._source.files
        return any(file.replaced or (self._source.rewritten and file.changed) for file in files)

    @property
    def share_read(self) -> float:
        """How much of it was read, from 0 to 1."""
        files = self._source.files
        size = sum(file.size for file in files)
        return min(1.0, sum(file.position for file in files) / size) if size else 1.0

    def close(self) -> None:
        """Close its files."""
        for file in self._source.files:
            file.close()

    def _begin(self) -> None:
        self._omissions = Omissions()
        self._source = self._opened()
        try:
            self._columns = self._choose()
        except DataError as error:
            self.close()
            raise type(error)(f"{self.path}: {error}") from error
        if is_named_validation(self.path.name):
            self._omissions.say(
                f"the name {self.path.name!r} speaks of validation; judged as training all the same"
            )
        names = self._columns.names
        self._timeline = Timeline(names, self._omissions)
        step = list(names).index(STEP) if STEP in names else None
        self._source.select(Selection(tuple(names.values()), step))
        self.title = self._source.title
        """The format's name for people."""
        self.columns: Mapping[str, str] = {tag: name for tag, name in names.items() if tag != EPOCH}
        """Tag to the name it has in the log; ``step`` too, unless rows are counted."""

    def _opened(self) -> RowSource:
        if self.path.is_dir() and self._format in (None, "tensorboard"):
            return MlflowRows(self.path, self._omissions) if is_mlflow_run(self.path) else self._events()
        file = LogFile(self.path)
        head = file.peek(HEAD)
        own = (each for each in self._readers if self._format is None and each.recognises(self.path, head))
        if (reader := next(own, None)) is not None:
            return reader(file, encoding_of(head), self._omissions)
        try:
            format = self._format or recognise(self.path, head)
        except DataError as error:
            file.close()
            raise type(error)(f"{self.path}: {error}") from error
        if format == "tensorboard":
            file.close()
            return self._events()
        return _SOURCES[format](file, encoding_of(head), self._omissions)

    def _events(self) -> RowSource:
        # Imported here: tensorboard's protobufs are needed for event files only.
        from stabilitykit.store.logs.tensorboard import TensorBoardRows

        return TensorBoardRows(self.path, self._omissions)

    def _choose(self) -> Columns:
        """Look on until there is a loss: a log may begin with a program's whole source."""
        error: DataError | None = None
        doubtful: Columns | None = None
        while (sample := self._source.sample(not self._growing)) is not None:
            try:
                found = find_columns(sample, self._given, self._source.prose, self._source.lone_loss)
            except NoLossError as none:
                error = error or none
            else:
                times = sum(found.names[LOSS] in row for row in sample.rows)
                if times >= _RECURS or not (self._source.prose or self._growing):
                    return found
                doubtful = found
            if sum(file.position for file in self._source.files) > _FARTHEST:
                raise NoLossError(f"{error} (in its first {_FARTHEST // 2**20} MiB)")
        if doubtful is not None and not self._growing:
            return doubtful
        if doubtful is not None:
            raise NoLossError(f"fewer than {_RECURS} losses in it so far")
        if error is None:
            left_out = "; ".join(self._left_out())
            raise NoLossError(f"nothing can be read from it ({left_out})" if left_out else "empty")
        raise error

    def _left_out(self) -> tuple[str, ...]:
        stopped = [file.stopped for file in self._source.files if file.stopped is not None]
        return (*self._omissions.notes, *stopped)

    def _all(self) -> Iterator[StepRecord]:
        yield from self.end()
        self.close()
        if self._omissions.unreadable >= max(1, self._timeline.given):
            raise DataError(f"{self.path}: {self._omissions.first_unreadable}")
        if not self._timeline.given:
            raise NoLossError(f"{self.path}: column {self.columns[LOSS]!r} holds no loss at any step")
