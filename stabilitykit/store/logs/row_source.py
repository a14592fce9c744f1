"""What a format's reader is: rows of one log, in the order in which they stand there."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

from stabilitykit.store.logs.lines import Characters, Lines
from stabilitykit.store.logs.omissions import Omissions
from stabilitykit.store.opening import LogFile

Row = list[float | None]
"""A value for each selected column; None where there is none."""

HEAD_LINES = 5_000
"""Lines looked at to learn what the columns are."""
HEAD_CHARACTERS = 2**22


@dataclass(frozen=True, slots=True)
class Sample:
    """A stretch of a log, read for its columns."""

    names: tuple[str, ...]
    """The columns, in order."""
    rows: list[dict[str, float]]
    """The numbers of each row by column."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a row shall hold."""

    names: tuple[str, ...]
    """The columns, the loss first."""
    step: int | None
    """Which of them is the step; None where rows are counted."""


class RowSource(ABC):
    """Rows of one log. Sampled until the columns are known, then selected from, then read.

    Args:
        files: What it reads.
        omissions: Where it counts what it passes over.
    """

    title: ClassVar[str]
    """The format's name for people."""
    prose: ClassVar[bool] = False
    """Whether anything may have a number: a name says little, and that it recurs says much."""
    lone_loss: ClassVar[bool] = True
    """Whether a column may be the loss because no other can be, whatever its name."""
    rewritten: ClassVar[bool] = False
    """Whether a log that grows is written anew as a whole."""

    def __init__(self, files: list[LogFile], omissions: Omissions) -> None:
        self.files = files
        self.omissions = omissions

    @abstractmethod
    def sample(self, ended: bool) -> Sample | None:
        """Return the next stretch that was not sampled yet, or None where there is none.

        The newest one is kept, and its rows are the first to be read; those before it are passed over.

        Args:
            ended: Whether the log has ended; where it may grow, its last line may be half a line.
        """

    @abstractmethod
    def select(self, selection: Selection) -> None:
        """Say which columns rows shall hold."""

    @abstractmethod
    def rows(self, ended: bool) -> Iterator[list[Row]]:
        """Yield rows in batches until there are none for now.

        Args:
            ended: Whether the log has ended.
        """


class FileSource(RowSource):
    """Rows of a log that is one file.

    Args:
        file: The log.
        encoding: How its characters are most likely written.
        omissions: Where it counts what it passes over.
    """

    def __init__(self, file: LogFile, encoding: str, omissions: Omissions) -> None:
        super().__init__([file], omissions)
        self.characters = Characters(file, encoding)
        """The log's text."""

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        """Return whether a file is of this format; asked of formats that were added to the built-in ones.

        Args:
            path: The file.
            head: Its first 65,536 bytes, decompressed.
        """
        return False


class LineSource(FileSource):
    """Rows of a log that is made of lines.

    Args:
        file: The log.
        encoding: How its characters are written.
        omissions: Where it counts what it passes over.
    """

    def __init__(self, file: LogFile, encoding: str, omissions: Omissions) -> None:
        super().__init__(file, encoding, omissions)
        self._lines = Lines(self.characters, omissions)
        self._head: list[list[str]] = []

    def head(self, ended: bool) -> list[str]:
        """Return the next stretch of lines, for the sample."""
        head: list[list[str]] = []
        lines = characters = 0
        for batch in self._batches(ended):
            head.append(batch)
            lines, characters = lines + len(batch), characters + sum(map(len, batch))
            if lines >= HEAD_LINES or characters >= HEAD_CHARACTERS:
                break
        # Where nothing follows, the newest stretch stays the one to be read.
        self._head = head or self._head
        return list(chain.from_iterable(head))

    def batches(self, ended: bool) -> Iterator[list[str]]:
        """Yield the lines from the newest sample on, until there are none for now."""
        head, self._head = self._head, []
        yield from head
        yield from self._batches(ended)

    def _batches(self, ended: bool) -> Iterator[list[str]]:
        yield from self._lines.batches()
        if ended and (rest := self._lines.rest()):
            yield rest
