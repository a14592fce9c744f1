"""All runs in a few Parquet files, without loss."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.alarms.runs import Run
from stabilitykit.errors import DataError

SCHEMA_VERSION = 1
INDEX = "runs.json"
"""Name, arm, configuration, corpus, versions and outcome of every run, and where its readings are."""

_LEVEL = 9
"""Of zstd: higher ones take many times as long for 1 %."""


def write_dataset(runs: Sequence[Run], folder: Path) -> None:
    """Write runs to a folder: one file for all that have the same tags, a row group each.

    Columns are ``run``, ``step`` and one for each tag; a reading that was not made is null, one that is not
    a number is NaN.

    Args:
        runs: Their names differ.
        folder: Made where it is not there; a data set in it is replaced.

    Raises:
        DataError: Two runs have one name.
    """
    if len({run.name for run in runs}) < len(runs):
        raise DataError("runs: a name is there twice")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("readings-*.parquet"):
        old.unlink()
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (len(run.tags), run.name)):
        groups.setdefault(run.tags, []).append(run)
    entries = []
    for number, members in enumerate(groups.values()):
        file = f"readings-{number:02d}.parquet"
        write_group(members, folder / file)
        entries += [entry(run) | {"file": file, "row_group": at} for at, run in enumerate(members)]
    document = {"schema_version": SCHEMA_VERSION, "runs": sorted(entries, key=lambda each: str(each["name"]))}
    (folder / INDEX).write_text(json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n")


def write_group(runs: Sequence[Run], to: Any) -> None:
    """Write the readings of runs that have the same tags.

    Args:
        runs: One or more.
        to: A path, or a file that is open for writing.
    """
    tags = runs[0].tags
    fields = [("run", pa.string()), ("step", pa.int64()), *((tag, pa.float32()) for tag in tags)]
    schema = pa.schema(fields)
    # Without Arrow's own schema, which says no more of plain columns and takes 30 KB.
    with pq.ParquetWriter(
        to,
        schema,
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=["run"],
        use_byte_stream_split=list(tags),
        write_statistics=False,
        store_schema=False,
    ) as writer:
        for run in runs:
            columns = [pa.array([run.name] * run.n_steps), pa.array(run.steps), *_columns(run)]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=max(1, run.n_steps))


def entry(run: Run) -> dict[str, Any]:
    """Return what is kept of a run beside its readings."""
    return {"name": run.name, "arm": run.arm, "result": dict(run.result), "config": dict(run.config)}


def read_dataset(folder: Path) -> tuple[Run, ...]:
    """Return the runs that ``write_dataset`` wrote, by name.

    Raises:
        DataError: There are none, or they are of a newer version.
    """
    try:
        document = json.loads((folder / INDEX).read_text())
    except OSError as error:
        raise DataError(f"{folder}: holds no {INDEX}") from error
    version = document["schema_version"]
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{folder / INDEX}: schema_version {version} is newer than {SCHEMA_VERSION}, which is read here"
        )
    files: dict[str, pq.ParquetFile] = {}
    tags: dict[str, tuple[str, ...]] = {}
    runs = []
    for each in document["runs"]:
        name = each["file"]
        if name not in files:
            files[name] = pq.ParquetFile(folder / name)
            tags[name] = tuple(files[name].schema_arrow.names[2:])
        table = files[name].read_row_group(each["row_group"], use_threads=False)
        runs.append(_run(each, tags[name], table))
    return tuple(runs)


def _columns(run: Run) -> Iterable[pa.Array]:
    for place in range(len(run.tags)):
        yield pa.array(run.values[:, place], mask=run.missing[:, place], from_pandas=False)


def _run(each: dict[str, Any], tags: tuple[str, ...], table: pa.Table) -> Run:
    values = np.empty((table.num_rows, len(tags)), np.float32)
    missing: NDArray[np.bool_] = np.zeros(values.shape, dtype=bool)
    for place, column in enumerate(table.columns[2:]):
        # Nulls come as NaN, which is what stands in a run where there is no reading.
        values[:, place] = column.to_numpy()
        if column.null_count:
            missing[:, place] = column.is_null().to_numpy()
    steps: NDArray[np.int64] = table.column("step").to_numpy()
    return Run(each["name"], each["arm"], each["config"], steps, tags, values, missing, each["result"])
