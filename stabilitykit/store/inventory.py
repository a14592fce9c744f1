"""The runs that are kept below a folder: what each was, how it ended, what it takes. Reads no readings."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stabilitykit.errors import RunFolderError
from stabilitykit.store.contents import CONFIG, RESULT, VERDICT, is_run_folder, own_files
from stabilitykit.store.disk import read_file, reason
from stabilitykit.store.documents import parse_json, parse_yaml
from stabilitykit.store.writer_lock import is_being_written

_DEEPEST = 6
"""Folders below the one that is looked in."""

State = Literal["finished", "interrupted", "unfinished", "running"]
"""``interrupted``: by its verdict. ``running``: its writer holds the lock. ``unfinished``: neither; it was
killed, or runs on a machine whose locks are not seen here."""


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run's folder, without its readings."""

    folder: Path
    state: State
    arch: str | None
    """What its config calls so; None for a run of somebody's own loop."""
    steps: int | None
    """Steps observed; None without a verdict, as are all that follow."""
    outcome: str | None
    final_loss: float | None
    """Nats; None too where it is not a number."""
    incidents: int | None
    size: int
    """Bytes of what stabilitykit wrote there."""
    written: float
    """When the last of it was, in seconds since 1970."""


def kept_run(folder: Path) -> KeptRun:
    """Return what is known of a run without reading its readings.

    Args:
        folder: The run's folder; what is missing or damaged in it stays unknown.
    """
    size, written = extent(own_files(folder))
    verdict = _document(folder / VERDICT) or _of_cell(_document(folder / RESULT))
    loss, incidents = verdict.get("final_loss"), verdict.get("incidents")
    return KeptRun(
        folder=folder,
        state=_state(folder, verdict),
        arch=_arch(folder),
        steps=verdict.get("steps"),
        outcome=verdict.get("verdict"),
        final_loss=float(loss) if isinstance(loss, int | float) else None,
        incidents=len(incidents) if isinstance(incidents, list) else None,
        size=size,
        written=written,
    )


def folders_below(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those below it with the names of their files; of runs' folders only the runs' own.

    Links and hidden folders are passed over, but for ``path`` itself.

    Args:
        path: Where to look.

    Raises:
        RunFolderError: It is no folder, or may not be read.
    """
    waiting = [(path, 0)]
    while waiting:
        here, depth = waiting.pop()
        try:
            with os.scandir(here) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if here == path:
                raise RunFolderError(f"{path}: cannot be looked in ({reason(error)})") from None
            continue
        names = [entry.name for entry in found if entry.is_file(follow_symlinks=False)]
        yield here, names
        if depth < _DEEPEST and not (CONFIG in names and is_run_folder(here)):
            below = [each for each in found if each.is_dir(follow_symlinks=False)]
            waiting += [(here / each.name, depth + 1) for each in reversed(below) if each.name[0] != "."]


def extent(files: Iterable[os.DirEntry[str]]) -> tuple[int, float]:
    """Return the bytes of some files, and when the last of them was written; 0 for none."""
    size, written = 0, 0.0
    for file in files:
        try:
            status = file.stat(follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            size, written = size + status.st_size, max(written, status.st_mtime)
    return size, written


def _state(folder: Path, verdict: dict[str, Any]) -> State:
    if verdict:
        return "finished" if verdict.get("complete") else "interrupted"
    return "running" if is_being_written(folder) else "unfinished"


def _of_cell(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a cell's result says in a verdict's words: one that crashed has no verdict."""
    return {**result, "verdict": result.get("outcome"), "complete": True} if result else {}


def _document(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(read_file(path))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _arch(folder: Path) -> str | None:
    """Return the line of the architecture alone: parsing a thousand whole configs takes seconds."""
    try:
        lines = read_file(folder / CONFIG).decode().splitlines()
        line = next((line for line in lines if line.startswith("arch:")), "")
        arch = parse_yaml(line)["arch"] if line else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if arch is None else str(arch)
