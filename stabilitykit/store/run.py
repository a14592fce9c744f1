"""Reading a run's folder back: finished, still growing, or killed in the middle."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stabilitykit.errors import DataError, RunFolderError, closest
from stabilitykit.records import Incident, StepRecord
from stabilitykit.store.contents import CONFIG, INCIDENTS, READINGS, VERDICT, is_run_folder
from stabilitykit.store.disk import read_file, reason
from stabilitykit.store.documents import parse_json, parse_yaml
from stabilitykit.store.segments import SCHEMA_VERSION, Segment, segment_files


@dataclass(frozen=True, slots=True)
class Thinned:
    """A stretch of steps of which only some are left."""

    first: int
    """First step of the stretch."""
    last: int
    """Last step of the stretch."""
    every: int
    """Of so many steps one is left; more around incidents."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where the replay of a thinned run begins."""

    step: int
    state: Mapping[str, Any]
    """The detectors' state after ``step``."""


def open_run(path: str | Path) -> "Run":
    """Return a run that was, or is being, written to a folder.

    Args:
        path: The run's folder.

    Raises:
        RunFolderError: It is no run's folder, or it cannot be read by this version.
    """
    folder = Path(path)
    if not is_run_folder(folder):
        missing = f"no {CONFIG} with a schema_version in it" if folder.is_dir() else "no such folder"
        raise RunFolderError(f"{folder}: not a run's folder ({missing})")
    return Run(folder)


class Run:
    """A run's folder as it was when opened; what grows afterwards is seen by opening it again.

    Damage never raises: what cannot be read is passed over, and ``notes`` says so.

    Args:
        folder: The run's folder, as ``open_run`` checks it.

    Raises:
        RunFolderError: Its config cannot be read by this version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: Mapping[str, Any] = _read_config(folder / CONFIG)
        """What the run was asked to do, with ``schema_version``."""
        self._segments = [Segment(file) for file in segment_files(folder / READINGS)]
        self._tuples: dict[tuple[str, ...], tuple[str, ...]] = {}

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """Every tag that has readings, in the order of its first turning up."""
        return tuple(dict.fromkeys(tag for segment, _ in self._spans() for tag in segment.tags))

    @cached_property
    def renamed(self) -> Mapping[str, str]:
        """Conventional names of the sites to which the user has given others."""
        return {site: name for segment in self._segments for site, name in segment.renamed.items()}

    @property
    def last_step(self) -> int | None:
        """The last step on disk, or None where there is none."""
        last: int | None = None
        for segment, end in self._spans():
            last = self._last_of(segment, end)
        return last

    @cached_property
    def thinned(self) -> tuple[Thinned, ...]:
        """The stretches of steps that were thinned, in order; empty where every step is there."""
        found: list[Thinned] = []
        spans = list(self._spans())
        for at, (segment, end) in enumerate(spans):
            if segment.every == 1 or segment.first_step is None:
                continue
            following = spans[at + 1][0].first_step if at + 1 < len(spans) else end
            last = self._last_of(segment, end) if following is None else following - 1
            if found and (found[-1].every, found[-1].last + 1) == (segment.every, segment.first_step):
                found[-1] = Thinned(found[-1].first, last, segment.every)
            else:
                found.append(Thinned(segment.first_step, last, segment.every))
        return tuple(found)

    @cached_property
    def snapshot(self) -> Snapshot | None:
        """Where the replay begins: every step after it is there, and it holds what came before.

        None where nothing was thinned, and the replay begins at the first step; or where no state is left.
        """
        spans = [segment for segment, _ in self._spans()]
        thinned = max((at for at, segment in enumerate(spans) if segment.every > 1), default=-1)
        if thinned < 0:
            return None
        for segment in spans[thinned + 1 :]:
            state = segment.state()
            if state is not None and segment.first_step is not None:
                return Snapshot(segment.first_step, state)
        return None

    def records(self, after: int = -1) -> Iterator[StepRecord]:
        """Yield the step records in order, a batch in memory at a time.

        Where steps were recorded again after a resumption, the later recording counts from its first
        step on. Consecutive records share one ``tags`` tuple while the same tags are read.

        Args:
            after: Only those of later steps.
        """
        spans = list(self._spans())
        for at, (segment, end) in enumerate(spans):
            following = spans[at + 1][0].first_step if at + 1 < len(spans) else None
            if following is not None and following <= after:
                continue
            for batch in segment.batches(segment.tags):
                steps = _kept_steps(batch, end)
                if len(steps) and steps[-1] > after:
                    records = self._batch_records(segment.tags, batch, steps)
                    yield from (record for record in records if record.step > after)
                if len(steps) < batch.num_rows:
                    break

    def column(self, tag: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return one tag's readings without reading the others.

        Args:
            tag: One of ``tags``.

        Returns:
            The steps at which it was read, and its values; NaN among them is a reading.

        Raises:
            DataError: No step has such a reading.
        """
        if tag not in self.tags:
            raise DataError(f"{self.folder}: no readings of {tag!r}; {closest(tag, self.tags)}")
        steps, values = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for segment, end in self._spans():
            for batch in segment.batches((tag,)) if tag in segment.tags else ():
                kept = _kept_steps(batch, end)
                read = _valid(batch.column(1))[: len(kept)]
                steps.append(kept[read])
                values.append(_floats(batch.column(1))[: len(kept)][read])
        return np.concatenate(steps), np.concatenate(values)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """The incidents in the order they opened, each in its newest state."""
        return self._read_incidents[0]

    @cached_property
    def verdict(self) -> dict[str, Any] | None:
        """What ``verdict.json`` holds, or None while there is none, or none that can be read."""
        try:
            document = parse_json(read_file(self.folder / VERDICT))
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    @property
    def complete(self) -> bool:
        """Whether the run came to its end: it has a verdict, and that says so."""
        return self.verdict is not None and bool(self.verdict.get("complete"))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is damaged and was passed over, one line each; empty when all is whole."""
        for segment in self._segments:
            segment.scan()
        notes = [segment.damage for segment in self._segments if segment.damage is not None]
        notes += self._read_incidents[1]
        if self.verdict is None and (self.folder / VERDICT).exists():
            notes.append(f"{VERDICT}: unreadable; passed over")
        return tuple(notes)

    def _spans(self) -> Iterator[tuple[Segment, int | None]]:
        """Yield each segment that still counts, with the step before which it does."""
        ends: list[int | None] = []
        end: int | None = None
        for segment in reversed(self._segments):
            ends.append(end)
            if segment.first_step is not None:
                end = segment.first_step if end is None else min(end, segment.first_step)
        for segment, end in zip(self._segments, reversed(ends), strict=True):
            first = segment.first_step
            if first is not None and (end is None or first < end):
                yield segment, end

    @staticmethod
    def _last_of(segment: Segment, end: int | None) -> int:
        """Return the last step that counts in a segment of which some do."""
        last = -1
        for batch in segment.batches(()):
            steps = _kept_steps(batch, end)
            last = int(steps[-1]) if len(steps) else last
        return last

    def _batch_records(
        self, tags: tuple[str, ...], batch: pa.RecordBatch, steps: NDArray[np.int64]
    ) -> Iterator[StepRecord]:
        values = np.empty((batch.num_rows, len(tags)), np.float32)
        for at, column in enumerate(batch.columns[1:]):
            values[:, at] = _floats(column)
        values.setflags(write=False)
        if not any(column.null_count for column in batch.columns[1:]):
            shared = self._shared(tags)
            for step, row in zip(steps.tolist(), values, strict=False):
                yield StepRecord(step, shared, row, self.renamed)
            return
        read = np.stack([_valid(column) for column in batch.columns[1:]], axis=1)
        patterns: dict[bytes, tuple[str, ...]] = {}
        for step, row, there in zip(steps.tolist(), values, read, strict=False):
            pattern = there.tobytes()
            if pattern not in patterns:
                patterns[pattern] = self._shared(tuple(np.array(tags, object)[there]))
            yield StepRecord(step, patterns[pattern], row[there], self.renamed)

    def _shared(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        return self._tuples.setdefault(tags, tags)

    @cached_property
    def _read_incidents(self) -> tuple[tuple[Incident, ...], list[str]]:
        try:
            lines = read_file(self.folder / INCIDENTS).splitlines()
        except FileNotFoundError:
            return (), []
        except OSError as error:
            return (), [f"{INCIDENTS}: {reason(error)}"]
        return _replay(lines)


def _replay(lines: Sequence[bytes]) -> tuple[tuple[Incident, ...], list[str]]:
    changes: list[tuple[int, Incident]] = []
    notes: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            document = parse_json(line)
            if document["what"] == "resumed":
                changes = [change for change in changes if change[0] < document["step"]]
            else:
                changes.append((document["step"], Incident.from_json(document["incident"])))
        except (ValueError, KeyError, TypeError):
            notes.append(f"{INCIDENTS}: line {number} is cut or damaged; passed over")
    return tuple({incident.id: incident for _, incident in changes}.values()), notes


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = parse_yaml(read_file(path))
        version = int(config["schema_version"])
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({reason(error)})") from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise RunFolderError(f"{path}: damaged, no run can be read without it") from error
    if version > SCHEMA_VERSION:
        raise RunFolderError(
            f"{path}: schema_version {version} is newer than this version of stabilitykit reads"
            f" (accepted: up to {SCHEMA_VERSION})"
        )
    return dict(config)


def _kept_steps(batch: pa.RecordBatch, end: int | None) -> NDArray[np.int64]:
    steps: NDArray[np.int64] = batch.column(0).to_numpy()
    return steps if end is None else steps[: int(np.searchsorted(steps, end))]


def _floats(column: pa.Array) -> NDArray[np.float32]:
    values: NDArray[np.float32] = column.to_numpy(zero_copy_only=False)
    return values


def _valid(column: pa.Array) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid
