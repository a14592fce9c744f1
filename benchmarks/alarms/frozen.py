"""A few runs of each kind, small enough to be kept with the code."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.alarms.dataset import entry, write_dataset, write_group
from benchmarks.alarms.runs import Run
from stabilitykit.errors import DataError

LIMIT = 5_000_000
"""Bytes that the subset may have."""


def pick(runs: Sequence[Run], labels: Mapping[str, str], each: int, limit: int = LIMIT) -> tuple[str, ...]:
    """Return the names of up to so many runs of each arm and label that stay under a size together.

    The same runs give the same names. Of each arm and label the first by name is taken, which is a hash and
    so as good as drawn; then the second of each, and so on. One that no longer fits is passed over.

    Args:
        runs: All there are.
        labels: The label of each run by name; runs without one are not picked.
        each: Runs of each arm and label at most.
        limit: Bytes.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.name.rpartition("-")[2]):
        if run.name in labels:
            groups.setdefault((run.arm, labels[run.name]), []).append(run)
    picked, left = [], limit
    for place in range(each):
        for key in sorted(groups):
            if place < len(groups[key]) and (size := size_of(groups[key][place])) <= left:
                picked.append(groups[key][place].name)
                left -= size
    return tuple(sorted(picked))


def size_of(run: Run) -> int:
    """Return how many bytes a run takes by itself; beside others of its tags it takes less."""
    file = io.BytesIO()
    write_group([run], file)
    return file.getbuffer().nbytes + len(json.dumps(entry(run)))


def frozen(runs: Sequence[Run], names: Sequence[str], folder: Path, limit: int = LIMIT) -> None:
    """Write some of the runs to a folder.

    Args:
        runs: All there are.
        names: Those that are wanted.
        folder: Made where it is not there; a data set in it is replaced.
        limit: Bytes that it may take.

    Raises:
        DataError: One is not there, or they take more than ``limit``.
    """
    by_name = {run.name: run for run in runs}
    if lacking := sorted(set(names) - set(by_name)):
        raise DataError(f"names: {', '.join(lacking[:3])} not among the runs")
    write_dataset([by_name[name] for name in names], folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    if size > limit:
        raise DataError(f"{folder}: takes {size:,} bytes; must take {limit:,} at most, so pick fewer runs")
