"""A run's folder: what a run was asked to do, every reading, its incidents, its verdict.

``config.yaml`` is there before anything else and ``verdict.json`` after everything else, so a folder
without the second was interrupted, or its writer still holds the lock. Everything in between can be read at
any moment, and after ``kill -9``.
"""

import errno
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from stabilitykit.errors import ConfigError, FolderTakenError, RunFolderError
from stabilitykit.records import IncidentChange, StepRecord, finite_json
from stabilitykit.store.contents import (
    CONFIG,
    COVERAGE,
    INCIDENTS,
    READINGS,
    VERDICT,
    is_run_folder,
    leftovers,
)
from stabilitykit.store.disk import AppendFile, read_file, reason, replace_file
from stabilitykit.store.readings import ReadingsWriter
from stabilitykit.store.run import open_run
from stabilitykit.store.segments import SCHEMA_VERSION
from stabilitykit.store.thinning import Thinner
from stabilitykit.store.writer_lock import WriterLock, is_being_written, taking

log = logging.getLogger(__name__)

_OF_INCIDENTS, _OF_VERDICT = 1 / 2, 1 / 8
"""Of the budget."""
FOLDER_MB = 200.0
"""What a run's folder may take where nothing else is asked for, in megabytes."""


def write_coverage(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what was watched and how into a run's folder, as ``coverage.json``.

    Args:
        folder: The run's folder.
        rows: One a site, plain values.

    Raises:
        RunFolderError: The disk did not take it.
    """
    text = json.dumps({"schema_version": SCHEMA_VERSION, "rows": rows}, indent=1, ensure_ascii=False)
    try:
        replace_file(folder / COVERAGE, text + "\n")
    except OSError as error:
        raise RunFolderError(f"{folder}: {COVERAGE} was not written: {reason(error)}") from None


class RunWriter:
    """Writes one run's folder as the run goes on.

    Once the disk has refused, every later call raises the same error, and ``close`` stays quiet.

    Args:
        folder: Where to write; made with its parents.
        config: What the run was asked to do, resolved: texts, numbers, lists and mappings.
        resume: Whether to go on with the run that is in the folder. Readings and incidents of steps
            that are recorded again then give way to the new ones, and so does everything after them.
        state: Returns the detectors' state after the step that is being recorded, in plain JSON types:
            where the replay begins once older steps are thinned. Without it nothing is ever thinned.
        folder_mb: What the folder may take, in megabytes (1e6 bytes): the oldest steps are thinned to
            stay within it. Infinity keeps every step.

    Raises:
        FolderTakenError: The folder holds something already, or another process writes its run.
        RunFolderError: It cannot be written.
        ConfigError: ``config`` holds what YAML has no word for, or ``folder_mb`` is not accepted.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        resume: bool = False,
        state: Callable[[], Mapping[str, Any]] | None = None,
        folder_mb: float = FOLDER_MB,
    ) -> None:
        check_folder_mb(folder_mb)
        self.folder = folder
        self._failure: RunFolderError | None = None
        self._rewound_to: int | None = None
        self._lock = WriterLock()
        self.last_step_kept: int | None = None
        """The last step whose readings are on disk, or None while there is none."""
        text = _yaml(config)
        with self._disk("the run's folder"):
            if folder.exists() and not folder.is_dir():
                raise FolderTakenError(f"{folder}: is a file; name a new folder")
            folder.mkdir(parents=True, exist_ok=True)
            with taking(folder):
                self._check_free(resume)
                if resume:
                    self.last_step_kept = _last_step(folder)
                    (folder / VERDICT).unlink(missing_ok=True)
                    for part in list(leftovers(folder)):
                        Path(part.path).unlink(missing_ok=True)
                replace_file(folder / CONFIG, text)
                (folder / READINGS).mkdir(exist_ok=True)
                if (folder / READINGS).is_symlink():
                    raise RunFolderError(
                        f"{folder}: {READINGS} is a link, and nothing is written through links"
                    )
                self._lock.hold(folder)
            past = open_run(folder).incidents if resume else ()
            # Without a state nothing may be thinned, and so there is nothing to hold the folder to.
            self._budget = math.inf if state is None else 1e6 * folder_mb
            self._compacted, self._is_full = 0, False
            self._thinner = Thinner(folder, folder / READINGS, self._budget, past)
            self._readings = ReadingsWriter(folder / READINGS, self._thinner.segment_bytes, state)
        self._newest = self.last_step_kept

    def record(self, record: StepRecord) -> None:
        """Keep one step's readings; they are on disk after at most 2 s or 256 steps.

        Args:
            record: The step. One that does not come after the last is a repetition: from it on, the
                earlier readings and incidents no longer count.

        Raises:
            RunFolderError: The disk did not take a batch; names the last step kept.
        """
        if self._failure is not None:
            raise self._failure
        repeated = self._newest is not None and record.step <= self._newest
        if repeated or not self._readings.fits(record.tags):
            self._begin_segment(record.tags, repeated)
            self._rewound_to = record.step if repeated else None
        self._newest = record.step
        self._readings.add(record)
        if self._readings.is_due:
            self._flush()
        # What incidents have written counts as well: where they are many, no batch is ever due.
        if self._readings.is_full:
            self._begin_segment(self._readings.tags)
        self._thinner.work()

    def incident(self, change: IncidentChange) -> None:
        """Append a change of an incident, after the readings it rests on.

        Raises:
            RunFolderError: The disk did not take it; names the last step kept.
        """
        self._flush()
        self._thinner.mark(change.incident)
        self._append({"what": change.what, "step": change.step, "incident": change.incident.to_json()})

    def verdict(self, document: Mapping[str, Any]) -> None:
        """Write how the run ended, whole or not at all.

        Args:
            document: What ``verdict.json`` shall hold; a number that is not finite becomes null.

        Raises:
            RunFolderError: The disk did not take it; names the last step kept.
        """
        self._flush()
        text = self._verdict_text(finite_json(dict(document)))
        with self._disk("the verdict"):
            self._make_room(len(text))
            replace_file(self.folder / VERDICT, text)

    def flush(self) -> None:
        """Write what is held back: whoever goes on from a state that is saved now must find it on disk.

        Raises:
            RunFolderError: The disk did not take it; names the last step kept.
        """
        self._flush()

    def close(self) -> None:
        """Write what is held back and let go of the files; quiet after a failure.

        Raises:
            RunFolderError: The disk did not take what was held back.
        """
        try:
            if self._failure is None:
                self._flush()
        finally:
            self._thinner.stop()
            self._readings.close()
            self._lock.release()

    def _check_free(self, resume: bool) -> None:
        if not any(self.folder.iterdir()):
            return
        if resume and is_run_folder(self.folder):
            if is_being_written(self.folder):
                raise FolderTakenError(f"{self.folder}: another process writes this run; name a new folder")
            return
        if resume:
            raise FolderTakenError(
                f"{self.folder}: holds no run to resume, but other files; name a run's folder"
            )
        raise FolderTakenError(f"{self.folder}: not empty; name a new folder, or remove this one first")

    def _begin_segment(self, tags: tuple[str, ...], repeated: bool = False) -> None:
        self._flush()
        closed = self._readings.begin_segment(tags, repeated)
        if closed is not None:
            self._thinner.closed(closed)

    def _flush(self) -> None:
        with self._disk("readings"):
            self._make_room(self._readings.waiting_bytes)
            last = self._readings.flush()
        if last is not None:
            self.last_step_kept = last
            if self._rewound_to is not None:
                step, self._rewound_to = self._rewound_to, None
                self._append({"what": "resumed", "step": step})

    def _append(self, line: dict[str, Any]) -> None:
        text = json.dumps({"schema_version": SCHEMA_VERSION, **line}, allow_nan=False) + "\n"
        path = self.folder / INCIDENTS
        with self._disk("an incident"):
            # Without the line of a resumption, what no longer counts would.
            if not self._has_room_for(text) and line["what"] != "resumed":
                return
            self._make_room(len(text))
            file = AppendFile(path, new=False)
            try:
                file.write((_line_break(path) + text).encode())
            finally:
                file.close()

    def _make_room(self, size: float) -> None:
        """Make sure that the folder stays within its budget when so many bytes are written.

        Raises:
            OSError: There is no more to be thinned.
        """
        if size and not self._thinner.make_room(size):
            raise OSError(errno.EDQUOT, f"folder_mb: {self._budget / 1e6:g} MB are used up")

    def _has_room_for(self, line: str) -> bool:
        """Return whether the incidents' share takes a line, after leaving out what newer lines tell."""
        path, share = self.folder / INCIDENTS, _OF_INCIDENTS * self._budget
        size = path.stat().st_size if path.exists() else 0
        if size + len(line) > max(share / 2, 2 * self._compacted):
            replace_file(path, compacted(read_file(path)))
            size = self._compacted = path.stat().st_size
        if size + len(line) <= share:
            return True
        if not self._is_full:
            self._is_full = True
            log.warning(
                "%s: incidents have taken their share of folder_mb; further ones are told, but not kept",
                self.folder,
            )
        return False

    def _verdict_text(self, document: dict[str, Any]) -> str:
        """Return the verdict's text; of more incidents than its share takes, the first and the last ones."""
        incidents = document.get("incidents")
        kept = len(incidents) if isinstance(incidents, list) else 0
        while True:
            text = json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=2) + "\n"
            if len(text) <= _OF_VERDICT * self._budget or not kept or not isinstance(incidents, list):
                return text
            kept //= 2
            document["incidents"] = incidents[: kept - kept // 2] + incidents[len(incidents) - kept // 2 :]
            document["incidents_left_out"] = len(incidents) - kept

    @contextmanager
    def _disk(self, what: str) -> Iterator[None]:
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except RunFolderError:
            raise
        except OSError as error:
            kept = "none" if self.last_step_kept is None else str(self.last_step_kept)
            self._lock.release()
            self._failure = RunFolderError(
                f"{self.folder}: cannot write {what} ({reason(error)}); last step kept: {kept}"
            )
            raise self._failure from error


def compacted(lines: bytes) -> bytes:
    """Return the lines of ``incidents.jsonl`` that count, of each incident the first and the last one.

    Args:
        lines: What the file holds; a line that cannot be read stays.
    """
    found = lines.splitlines(keepends=True)
    keep: set[int] = set()
    counting: list[tuple[int, Any, int]] = []
    for at, line in enumerate(found):
        try:
            document = json.loads(line)
            if document["what"] == "resumed":
                counting = [each for each in counting if each[0] < document["step"]]
            else:
                counting.append((document["step"], document["incident"]["id"], at))
        except (ValueError, KeyError, TypeError, RecursionError):
            keep.add(at)
    last = {key: at for _, key, at in counting}
    first = {key: at for _, key, at in reversed(counting)}
    return b"".join(found[at] for at in sorted({*keep, *first.values(), *last.values()}))


def check_free(folder: Path) -> None:
    """Make a run's folder, and refuse one that cannot be had, before any other work is done for the run.

    Raises:
        FolderTakenError: It holds something already, or is none.
        RunFolderError: It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_free = not any(folder.iterdir())
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise FolderTakenError(f"{folder}: is a file; name a new folder") from None
        raise RunFolderError(f"{folder}: cannot be written ({reason(error)})") from error
    if not is_free:
        raise FolderTakenError(f"{folder}: not empty; name a new folder, or remove this one first")
    if not os.access(folder, os.W_OK):
        raise RunFolderError(f"{folder}: cannot be written (Permission denied)")


def check_folder_mb(folder_mb: float) -> None:
    """Refuse a budget that no folder can keep to.

    Raises:
        ConfigError: Names the argument, the value and what is accepted.
    """
    is_number = isinstance(folder_mb, int | float) and not isinstance(folder_mb, bool)
    if not is_number or not folder_mb >= 1:
        raise ConfigError(f"folder_mb: got {folder_mb!r}; must be a number of megabytes from 1 on")


def _yaml(config: Mapping[str, Any]) -> str:
    try:
        return yaml.safe_dump(
            {"schema_version": SCHEMA_VERSION, **config}, sort_keys=False, allow_unicode=True
        )
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())
        raise ConfigError(f"config: {what}; accepted: texts, numbers, lists and mappings") from error


def _last_step(folder: Path) -> int | None:
    if not is_run_folder(folder):
        return None
    return open_run(folder).last_step


def _line_break(path: Path) -> str:
    """Return what must precede a new line: a killed run may have left half a one."""
    with suppress(OSError), path.open("rb") as file:
        if file.seek(0, 2):
            file.seek(-1, 2)
            return "" if file.read() == b"\n" else "\n"
    return ""
