"""Reading a CSV log: a header, one row a step, columns found by name."""

import csv
import gzip
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from stabilitykit.errors import DataError
from stabilitykit.store.disk import reason
from stabilitykit.store.logs.log_reading import LogReading, RecordTable
from stabilitykit.store.logs.names import STEP, find_columns

_MISSING = ("", "None", "null")


@dataclass(frozen=True, slots=True)
class _Header:
    """The header, and where the rows begin."""

    names: tuple[str, ...]
    lines: int
    """Lines up to and with the header."""
    delimiter: str


def read_csv(
    path: str | Path,
    *,
    loss: str | None = None,
    step: str | None = None,
    grad_norm: str | None = None,
    lr: str | None = None,
    unigram_cross_entropy: str | None = None,
) -> LogReading:
    """Return the step records of a CSV log, plain or gzipped.

    An empty cell is a reading that was not taken; ``nan`` and ``inf`` are values. Rows without a loss
    make no record of their own; what they hold joins the record of their step. Where a step comes
    twice, the newer value counts. Without a column of steps, rows are counted from 0.

    Args:
        path: The log.
        loss: The loss's column; found by name when absent, as are the others.
        step: The steps' column.
        grad_norm: The gradient norm's column.
        lr: The learning rate's column.
        unigram_cross_entropy: The column of the batches' unigram cross-entropy.

    Raises:
        DataError: There is no such file, nothing in it, no loss, or a cell is no number; one line says which.
    """
    path = Path(path)
    given = {
        STEP: step,
        "train/loss": loss,
        "optim/grad_norm": grad_norm,
        "optim/lr": lr,
        "train/unigram_cross_entropy": unigram_cross_entropy,
    }
    header = _read_header(path)
    columns = find_columns(path, header.names, given)
    notes: list[str] = []
    names = {what: header.names[at] for what, at in columns.items()}
    cells = _read_cells(path, header, columns, notes)
    counted = _Cells(np.arange(len(cells["train/loss"].values)), np.array(True))
    steps = _whole(path, names.get(STEP, ""), cells.pop(STEP, counted))
    records = _records(steps, cells, notes)
    if not len(records):
        raise DataError(f"{path}: column {names['train/loss']!r} holds no loss at any step")
    return LogReading(records, names, tuple(notes))


@dataclass(frozen=True, slots=True)
class _Cells:
    """One column."""

    values: NDArray[Any]
    read: NDArray[np.bool_]
    """Where the cell is not empty."""


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (OSError, EOFError) as error:
        what = reason(error) if isinstance(error, OSError) else "the archive is cut"
        raise DataError(f"{path}: cannot be read ({what})") from error


def _read_header(path: Path) -> _Header:
    with _opened(path) as file:
        for lines, line in enumerate(file, start=1):
            text = line.decode("utf-8-sig", errors="replace").strip("\r\n")
            if text.strip():
                delimiter = max(",;\t", key=text.count)
                names = tuple(name.strip() for name in next(csv.reader([text], delimiter=delimiter)))
                return _Header(names, lines, delimiter)
    raise DataError(f"{path}: empty; a CSV log begins with a header such as 'step,loss'")


def _read_cells(
    path: Path, header: _Header, columns: Mapping[str, int], notes: list[str]
) -> dict[str, _Cells]:
    ragged: list[str] = []
    try:
        table = _read_fast(path, header, set(columns.values()), ragged)
    except pa.ArrowInvalid:
        # Arrow is quick, and strict; Python knows the line, and takes blanks for empty.
        ragged.clear()
        table = _read_slowly(path, header, set(columns.values()), ragged)
    if ragged:
        shown = ragged[0] if len(ragged[0]) <= 40 else ragged[0][:40] + "…"
        notes.append(
            f"rows without {len(header.names)} cells passed over: {len(ragged)}, the first {shown!r}"
        )
    return {what: table[at] for what, at in columns.items()}


def _read_fast(path: Path, header: _Header, columns: set[int], ragged: list[str]) -> dict[int, _Cells]:
    def pass_over(row: Any) -> str:
        ragged.append(row.text)
        return "skip"

    with _opened(path) as file:
        table = pa.csv.read_csv(
            file,
            # Numbers for names: the header's own may occur twice. One thread: the handler is ours.
            pa.csv.ReadOptions(
                use_threads=False,
                skip_rows=header.lines,
                column_names=[str(at) for at in range(len(header.names))],
            ),
            pa.csv.ParseOptions(delimiter=header.delimiter, invalid_row_handler=pass_over),
            pa.csv.ConvertOptions(
                include_columns=[str(at) for at in columns],
                column_types={str(at): pa.float64() for at in columns},
                null_values=list(_MISSING),
            ),
        )
    arrays = {at: table.column(str(at)).combine_chunks() for at in columns}
    return {
        at: _Cells(array.fill_null(0.0).to_numpy(), array.is_valid().to_numpy(zero_copy_only=False))
        for at, array in arrays.items()
    }


def _read_slowly(path: Path, header: _Header, columns: set[int], ragged: list[str]) -> dict[int, _Cells]:
    values: dict[int, list[float | None]] = {at: [] for at in columns}
    with _opened(path) as file:
        lines = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
        reader = csv.reader(islice(lines, header.lines, None), delimiter=header.delimiter)
        for row in reader:
            if len(row) != len(header.names):
                ragged += [header.delimiter.join(row)] if row else []
                continue
            for at, column in values.items():
                where = f"{path}: line {header.lines + reader.line_num}: column {header.names[at]!r}"
                column.append(_number(row[at].strip(), where))
    read = {at: np.array([value is not None for value in column], bool) for at, column in values.items()}
    return {
        at: _Cells(np.array([0.0 if value is None else value for value in column], float), read[at])
        for at, column in values.items()
    }


def _number(cell: str, where: str) -> float | None:
    if cell in _MISSING:
        return None
    try:
        return float(cell)
    except ValueError:
        raise DataError(f"{where} holds {cell!r}; accepted: a number, nan, inf or nothing") from None


def _whole(path: Path, name: str, steps: _Cells) -> _Cells:
    numbers = steps.values
    wrong = steps.read & ~(np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53))
    if wrong.any():
        value = numbers[wrong][0]
        raise DataError(f"{path}: column {name!r} holds {value:g}; accepted: whole numbers of steps")
    return _Cells(numbers.astype(np.int64), steps.read)


def _records(steps: _Cells, cells: Mapping[str, _Cells], notes: list[str]) -> RecordTable:
    series = {tag: _newest(steps, column) for tag, column in cells.items()}
    at, _ = series["train/loss"]
    repeated = int((steps.read & cells["train/loss"].read).sum()) - len(at)
    if repeated:
        notes.append(f"steps that come more than once: {repeated} older rows gave way to the newest")
    values, read = {}, {}
    for tag, (own, numbers) in series.items():
        place = np.searchsorted(own, at).clip(max=max(0, len(own) - 1))
        read[tag] = own[place] == at if len(own) else np.zeros(len(at), bool)
        values[tag] = np.where(read[tag], numbers[place] if len(own) else 0.0, 0.0)
    return RecordTable(at, values, read)


def _newest(steps: _Cells, column: _Cells) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rows = np.flatnonzero(steps.read & column.read)[::-1]
    # Reversed, because np.unique keeps the first of equals.
    unique, first = np.unique(steps.values[rows], return_index=True)
    return unique, column.values[rows][first]
