"""The logs in a folder and below it: found by name, once each, past links that lead in circles."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from stabilitykit.errors import DataError
from stabilitykit.store.contents import is_run_folder
from stabilitykit.store.event_names import is_event_log
from stabilitykit.store.logs.lines import encoding_of
from stabilitykit.store.logs.mlflow import is_mlflow_run
from stabilitykit.store.logs.names import is_named_validation, may_be_loss
from stabilitykit.store.logs.phrases import numbers_in
from stabilitykit.store.logs.recognition import HEAD, recognise, suffix_of
from stabilitykit.store.opening import LogFile

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".log", ".txt", ".out", ".err", ".dat")
_MOST = 200_000
"""Files and folders looked at."""
_DEEPEST = 40
_ROTATED = re.compile(r"\.(?:log|out|err|txt|csv|jsonl)\.\d+$", re.IGNORECASE)
"""``train.log.1``, as a log that has grown too long is renamed."""
_LOSS = re.compile(rb"loss|cost", re.IGNORECASE)
_STATE = "trainer_state.json"
_IGNORED = re.compile(r"\..*|__pycache__|node_modules|site-packages")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_GLOBAL_STEP = re.compile(r'"global_step"\s*:\s*(\d+)')


@dataclass(slots=True)
class FoundLogs:
    """What there is below a folder."""

    sure: list[Path] = field(default_factory=list)
    """Runs' folders and ``trainer_state.json``."""
    likely: list[Path] = field(default_factory=list)
    """Files, and folders of event files, that are logs if a loss is in them."""
    of_validation: list[Path] = field(default_factory=list)
    """What is not of training, by its name: Keras writes a folder ``validation`` beside ``train``."""
    complete: bool = True
    """False where there was too much to look at all of it."""

    @property
    def paths(self) -> list[Path]:
        """All of training, sorted."""
        return sorted([*self.sure, *self.likely])


def find_logs(folder: Path) -> FoundLogs:
    """Return the logs in a folder and below it; a file, or a run's folder, is itself.

    Of the several ``trainer_state.json`` of one run the one of its last step is returned: it holds them all.

    Args:
        folder: Where to look.
    """
    if not folder.is_dir() or is_run_folder(folder) or is_mlflow_run(folder):
        return FoundLogs(sure=[folder])
    found = FoundLogs()
    states: dict[Path, list[Path]] = {}
    for path in _walk(folder, found):
        if any(is_named_validation(part) for part in path.relative_to(folder).parts):
            found.of_validation.append(path)
        elif is_run_folder(path):
            found.sure.append(path)
        elif path.name == _STATE:
            run = path.parent.parent if _CHECKPOINT.fullmatch(path.parent.name) else path.parent
            states.setdefault(run, []).append(path)
        else:
            found.likely.append(path)
    found.sure += [max(each, key=_last_step) for each in states.values()]
    return found


def _walk(folder: Path, found: FoundLogs) -> Iterator[Path]:
    """Yield runs' folders, folders with event files, and files that may be logs."""
    seen: set[tuple[int, int]] = set()
    looked = 0
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop()
        if not _is_new(here, seen) or depth > _DEEPEST:
            continue
        if is_run_folder(here) or is_mlflow_run(here):
            yield here
            continue
        files, folders = _entries(here)
        looked += len(files) + len(folders)
        if looked > _MOST:
            found.complete = False
            return
        if any(is_event_log(file.name) for file in files):
            yield here
        yield from (file for file in files if _may_be_log(file) and _is_new(file, seen))
        waiting += [(each, depth + 1) for each in reversed(folders)]


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return files and folders in a folder, sorted; none where it may not be read."""
    try:
        with os.scandir(folder) as entries:
            paths = [
                Path(entry.path) for entry in islice(entries, _MOST + 1) if not _IGNORED.match(entry.name)
            ]
    except OSError:
        return [], []
    folders = {path for path in paths if os.path.isdir(path)}  # noqa: PTH112  # pathlib's raises, on loops too
    return sorted(path for path in paths if path not in folders), sorted(folders)


def _is_new(path: Path, seen: set[tuple[int, int]]) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    new = (status.st_dev, status.st_ino) not in seen
    seen.add((status.st_dev, status.st_ino))
    return new


def _may_be_log(path: Path) -> bool:
    suffix = suffix_of(path)
    if path.name == _STATE or suffix in _SUFFIXES or _ROTATED.search(path.name):
        return path.is_file()
    return suffix in ("", ".json", ".ipynb") and path.is_file() and _speaks_of_loss(path, suffix)


def _speaks_of_loss(path: Path, suffix: str) -> bool:
    """Return whether a file whose name says nothing begins as a log with a loss; most are something else."""
    try:
        file = LogFile(path)
        try:
            head = file.peek(HEAD)
        finally:
            file.close()
        format = recognise(path, head)
    except DataError:
        return False
    if not _LOSS.search(head):
        return False
    lines = head.decode(encoding_of(head), errors="replace").splitlines()
    if format in ("text", "csv"):
        return suffix == "" and any(may_be_loss(name) for line in lines for name in numbers_in(line))
    return format != "jsonl" or len(lines) > 1


def _last_step(state: Path) -> tuple[int, int]:
    """Return a key that is highest for the state that was written last."""
    checkpoint = _CHECKPOINT.fullmatch(state.parent.name)
    named = int(checkpoint[1]) if checkpoint else 0
    try:
        file = LogFile(state)
        try:
            head = file.peek(HEAD)
        finally:
            file.close()
    except DataError:
        return 0, named
    step = _GLOBAL_STEP.search(head.decode(encoding_of(head), errors="replace"))
    return int(step[1]) if step else named, named
