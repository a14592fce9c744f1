"""What a run's folder holds, by name; without the libraries that read it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

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
_FILE = re.compile(rf"({'|'.join(map(re.escape, _NAMES))})(\.part)?")
# Other writers' event files have no nanoseconds in their names.
_EVENTS = re.compile(r"events\.out\.tfevents\.\d{10,}\.\d{9}\..+")
_SEGMENT = re.compile(r"segment-\d+\.arrow(\.part)?")


def is_run_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder that a run was written to."""
    try:
        with (path / CONFIG).open(encoding="utf-8") as file:
            return any(line.startswith("schema_version:") for line in file)
    except (OSError, UnicodeDecodeError):
        return False


def own_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the files in a run's folder that stabilitykit writes there, ``config.yaml`` last.

    Whatever else somebody keeps there is not among them, and links are not followed.

    Args:
        folder: The run's folder.
    """
    last: list[os.DirEntry[str]] = []
    for entry in _entries(folder):
        if entry.name == READINGS and entry.is_dir(follow_symlinks=False):
            yield from (each for each in _entries(entry.path) if _is_file(each, _SEGMENT))
        elif _is_file(entry, _FILE) or _is_file(entry, _EVENTS):
            if entry.name == CONFIG:
                last.append(entry)
            else:
                yield entry
    yield from last


def is_own_event_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is an event file that stabilitykit wrote."""
    return _is_file(entry, _EVENTS)


def _is_file(entry: os.DirEntry[str], name: re.Pattern[str]) -> bool:
    return name.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder; nothing where it has gone or may not be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
