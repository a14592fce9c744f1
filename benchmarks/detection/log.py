"""A training log as arrays, and what a tool said of it."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Places = NDArray[np.int64]
"""Rows of a log, or its steps."""

COLUMNS = ("loss", "grad_norm", "lr", "unigram_cross_entropy")


@dataclass(frozen=True, eq=False)
class Log:
    """The columns of a log in the order of its rows; steps may repeat or leave gaps."""

    steps: Places
    loss: Values
    grad_norm: Values | None = None
    lr: Values | None = None
    unigram_cross_entropy: Values | None = None

    def __len__(self) -> int:
        return len(self.steps)

    def write(self, path: Path) -> None:
        """Write the log as a CSV file with a header."""
        columns = {name: getattr(self, name) for name in COLUMNS if getattr(self, name) is not None}
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", *columns])
            writer.writerows(zip(self.steps.tolist(), *(c.tolist() for c in columns.values()), strict=True))


def read_log(path: Path) -> Log:
    """Return the log in a plain CSV file of the traces; an empty cell is NaN, as in their scorer."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {
        name: np.array([float(row[name] or "nan") for row in rows])
        for name in COLUMNS
        if rows and name in rows[0]
    }
    return Log(np.array([int(float(row["step"])) for row in rows]), **columns)


@dataclass(frozen=True)
class Said:
    """What a tool said of a log, in the form that ``stabilitykit diagnose --json`` prints."""

    verdict: str
    incidents: list[dict[str, Any]]
    """Each with ``kind``, ``start``, ``end`` and ``detected`` in steps; ``end`` is None while it is open."""


@dataclass(frozen=True)
class Tool:
    """Something that judges logs."""

    name: str
    short: str
    """The name at the head of a narrow column."""
    source: str
    """Where its rule is from, with the version."""
    judge: Callable[[Path, Log], Said]
    """Takes the path of a plain CSV file, and what is in it."""
    needs: str = "loss"
    """The column it looks at; logs without it are left out of its score."""
