"""What a run's folder holds, by name; without the libraries that read it."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from stabilitykit.store.disk import PART, read_file
from stabilitykit.store.event_names import HPARAMS

CONFIG = "config.yaml"
COVERAGE = "coverage.json"
READINGS = "readings"
INCIDENTS = "incidents.jsonl"
VERDICT = "verdict.json"
RESULT = "result.json"
"""How a cell of a sweep ended; only there."""
PROGRESS = "progress.json"
"""What a running cell says of itself, for those who watch."""
CRASH = "crash.txt"
"""The traceback of a cell that crashed."""

_NAMES = (COVERAGE, INCIDENTS, VERDICT, RESULT, PROGRESS, CRASH, CONFIG)
_FILE = re.compile("|".join(map(re.escape, _NAMES)))
# Other writers' event files have no nanoseconds in their names.
_EVENTS = re.compile(r"events\.out\.tfevents\.\d{10,}\.\d{9}\..+\.\d+\.\d+(\.hparams)?")
_SEGMENT = re.compile(r"segment-\d+\.arrow")
_OLD_PART = re.compile(r"segment-\d+\.part")
"""What an earlier version called a segment that it was rewriting."""


def is_run_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder that a run was written to."""
    try:
        text = read_file(path / CONFIG).decode()
    except (OSError, UnicodeDecodeError):
        return False
    return any(line.startswith("schema_version:") for line in text.splitlines())


def own_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the files in a run's folder that stabilitykit writes there, ``config.yaml`` last.

    Whatever else somebody keeps there is not among them, and links are not followed.

    Args:
        folder: The run's folder.
    """
    last: list[os.DirEntry[str]] = []
    for entry in entries(folder):
        if entry.name == READINGS and entry.is_dir(follow_symlinks=False):
            yield from (each for each in entries(entry.path) if _is_file(each, is_segment_name))
        elif entry.name == CONFIG and entry.is_file(follow_symlinks=False):
            # One without our mark is somebody else's.
            last += [entry] * is_run_folder(Path(folder))
        elif _is_file(entry, _is_name) or is_own_event_file(entry):
            yield entry
    yield from last


def leftovers(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what a killed writer has left half written in a run's folder."""
    return (entry for entry in own_files(folder) if PART.fullmatch(entry.name))


def is_segment_name(name: str) -> bool:
    """Return whether a file of readings is called so, or one that is being written."""
    return _SEGMENT.fullmatch(_whole(name)) is not None or _OLD_PART.fullmatch(name) is not None


def is_own_event_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is an event file that stabilitykit wrote."""
    return _is_file(entry, lambda name: _EVENTS.fullmatch(name) is not None)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of a run's folder, whoever wrote them: of its files and of its readings."""
    found = [*entries(folder), *entries(folder / READINGS)]
    return sum(_bytes(each) for each in found)


def event_bytes(folder: Path) -> int:
    """Return the bytes of our event files in a folder."""
    return sum(_bytes(each) for each in entries(folder) if is_own_event_file(each))


def own_hparams(folder: Path) -> list[os.DirEntry[str]]:
    """Return the files in a folder that hold what we show in TensorBoard's HPARAMS tab."""
    return [each for each in entries(folder) if each.name.endswith(HPARAMS) and is_own_event_file(each)]


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder; nothing where it has gone or may not be read."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _bytes(entry: os.DirEntry[str]) -> int:
    """Return the bytes of a file; none of one that has just gone, or that is none."""
    try:
        return entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
    except OSError:
        return 0


def _is_name(name: str) -> bool:
    return _FILE.fullmatch(_whole(name)) is not None


def _whole(name: str) -> str:
    """Return what a file will be called that is being written."""
    part = PART.fullmatch(name)
    return part["name"] if part else name


def _is_file(entry: os.DirEntry[str], is_named: Callable[[str], bool]) -> bool:
    return is_named(entry.name) and entry.is_file(follow_symlinks=False)
