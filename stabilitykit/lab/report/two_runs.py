"""Two runs beside each other, from their folders or from anybody's logs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stabilitykit.afterwards.replay import GUESSED, ColumnNames, Format, open_log
from stabilitykit.lab.report.parting import Column, Parting, parting
from stabilitykit.store import is_run_folder, open_run


@dataclass(frozen=True, slots=True)
class _Readings:
    tags: tuple[str, ...]
    column: Callable[[str], Column]
    config: Mapping[str, Any]


def where_they_part(a: Path, b: Path, format: Format = "auto", names: ColumnNames = GUESSED) -> Parting:
    """Return where two runs part, by all readings that both have.

    Args:
        a: A run's folder or a log.
        b: Another.
        format: What logs are; found out unless given.
        names: Names of a log's columns, where they shall not be guessed.

    Raises:
        DataError: A log cannot be used.
        RunFolderError: A run's folder is of a newer version.
    """
    first, second = (_readings(path, format, names) for path in (a, b))
    tags = [tag for tag in first.tags if tag in set(second.tags)]
    return parting(tags, first.column, second.column, first.config, second.config)


def _readings(path: Path, format: Format, names: ColumnNames) -> _Readings:
    if is_run_folder(path):
        run = open_run(path)
        return _Readings(run.tags, run.column, run.config)
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for record in open_log(path, format, names).records:
        for tag, value in record.readings.items():
            steps, values = columns.setdefault(tag, ([], []))
            steps.append(record.step)
            values.append(value)
    return _Readings(tuple(columns), lambda tag: _column(*columns[tag]), {})


def _column(steps: list[int], values: list[float]) -> Column:
    return np.array(steps, np.int64), np.array(values, np.float32)
