"""Runs as MLflow keeps them in files: a file a metric, ``time value step`` in each line."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from stabilitykit.store.logs.columns import NoLossError
from stabilitykit.store.logs.lines import Characters, Lines
from stabilitykit.store.logs.names import STEP
from stabilitykit.store.logs.numbers import number
from stabilitykit.store.logs.omissions import Omissions
from stabilitykit.store.logs.row_source import Row, RowSource, Sample, Selection
from stabilitykit.store.opening import LogFile

_FOLDER = "metrics"
_LINE = re.compile(r"\d{9,}\s+(\S+)\s+(\d+)\s*")
_HEAD = 2**13
"""Bytes of a metric that show what it holds."""
_MOST = 5_000
"""Metrics of one run that are looked at."""


def is_mlflow_run(folder: Path) -> bool:
    """Return whether a folder is a run of MLflow's, by what its metrics hold."""
    first = next(_metrics(folder), None)
    if first is None:
        return False
    file = LogFile(first)
    try:
        head = file.peek(_HEAD)
    finally:
        file.close()
    return _LINE.match(head.decode("utf-8", errors="replace")) is not None


class MlflowRows(RowSource):
    """Rows of a run's metrics, those of all that were selected side by side.

    Args:
        path: The run's folder, in which ``metrics`` is.
        omissions: Where it counts what it passes over.
    """

    title: ClassVar[str] = "MLflow run"
    lone_loss: ClassVar[bool] = False

    def __init__(self, path: Path, omissions: Omissions) -> None:
        super().__init__([], omissions)
        self._path = path
        self._is_sampled = False
        self._names: tuple[str, ...] = ()
        self._lines: dict[str, Lines] = {}

    def sample(self, ended: bool) -> Sample | None:
        """Return the metrics, and how each begins."""
        if self._is_sampled:
            return None
        self._is_sampled = True
        found = {
            metric.relative_to(self._path / _FOLDER).as_posix(): metric for metric in _metrics(self._path)
        }
        rows = [row for name, metric in found.items() for row in _begins(name, metric)]
        if not rows:
            raise NoLossError("no metric in it holds a number")
        return Sample((STEP, *(name for name in found if name != STEP)), rows)

    def select(self, selection: Selection) -> None:
        """Open the metrics that rows shall hold."""
        self._names = selection.names
        for name in self._names:
            if name != STEP:
                file = LogFile(self._path / _FOLDER / name)
                self.files.append(file)
                self._lines[name] = Lines(Characters(file, "utf-8"), self.omissions)

    def rows(self, ended: bool) -> Iterator[list[Row]]:
        """Yield rows in batches, a metric after the other, until there are none for now."""
        reading = {name: lines.batches() for name, lines in self._lines.items()}
        while reading:
            for name, batches in list(reading.items()):
                batch = next(batches, None)
                if batch is None:
                    del reading[name]
                    batch = self._lines[name].rest() if ended else []
                yield self._picked(name, batch)

    def _picked(self, name: str, lines: Sequence[str]) -> list[Row]:
        rows = []
        for line in lines:
            found = _parsed(line)
            if found is None:
                if line.strip():
                    self.omissions.cannot_read(f"{name}: got {line[:40]!r}; accepted: time, value and step")
                continue
            value, step = found
            rows.append([step if each == STEP else value if each == name else None for each in self._names])
        return rows


def _metrics(folder: Path) -> Iterator[Path]:
    """Yield the files of a run's metrics, sorted; a name with slashes is a path."""
    count = 0
    for here, folders, files in os.walk(folder / _FOLDER):
        folders.sort()
        for file in sorted(files):
            path = Path(here) / file
            if path.is_file() and count < _MOST:
                count += 1
                yield path


def _begins(name: str, metric: Path) -> list[dict[str, float]]:
    file = LogFile(metric)
    try:
        text = file.peek(_HEAD).decode("utf-8", errors="replace")
    finally:
        file.close()
    found = [row for line in text.splitlines() if (row := _parsed(line)) is not None]
    return [{STEP: step, name: value} for value, step in found]


def _parsed(line: str) -> tuple[float, float] | None:
    """Return a line's value and step, or None where it is none."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    try:
        value = number(match[1])
    except ValueError:
        return None
    return None if value is None else (value, float(match[2]))
