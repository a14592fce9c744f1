"""A run kept on disk while it goes on: its folder, its TensorBoard files, and which run it is."""

import itertools
import json
import os
import platform
import uuid
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stabilitykit.errors import ConfigError, FolderTakenError, RunFolderError
from stabilitykit.guard import Guard, described, say
from stabilitykit.live.listener import Listener
from stabilitykit.records import IncidentChange, StepRecord, Verdict
from stabilitykit.store import RunWriter, open_run
from stabilitykit.store.tensorboard import TensorBoardWriter

_NAMES = 1_000
"""Names tried beside a folder that is taken."""


class KeptRun:
    """Keeps a run on disk; where the disk refuses, the run is watched all the same, and that is said.

    Args:
        folder: Where to keep it; None for nowhere.
        resume: Whether the folder holds an earlier part of the same run, and the record goes on there.
        beside: Where the folder holds something else, keep the run in a numbered one beside it.
        folder_mb: What the folder may take, in megabytes.
    """

    def __init__(self, folder: Path | None, *, resume: bool, beside: bool, folder_mb: float) -> None:
        self.folder = folder
        self.has_failed = False
        """Whether the run could not be kept to its end."""
        self.run_id = ""
        """What tells the run from every other."""
        self.goes_on = resume
        """Whether the record that is kept goes on with an earlier part of the run."""
        self._beside = beside
        self._folder_mb = folder_mb

    def open(self, config: Mapping[str, Any], state: Callable[[], Mapping[str, Any]]) -> list[Listener]:
        """Make the folder, and return what keeps the run in it; nothing where the disk refuses.

        Args:
            config: What is written to the run's ``config.yaml``.
            state: Returns the detectors' state after the record that was kept last.

        Raises:
            ConfigError: The folder's size is not accepted.
            FolderTakenError: The folder holds something else.
        """
        if self.folder is None:
            return []
        folder, refused = self.folder, (ConfigError, FolderTakenError)
        guard = Guard("the run's folder", limit=1, passes=refused, on_off=self.fail)
        writer = guard(lambda: self._writer(folder, config, state), None)
        if writer is None:
            return []
        self.folder = place = writer.folder
        kept: list[Listener] = [RunFolder(writer)]
        guard = Guard("TensorBoard's files", limit=1, on_off=self.fail)
        board = guard(lambda: _TensorBoard(TensorBoardWriter(place, folder_mb=self._folder_mb)), None)
        return [*kept, board] if board else kept

    def fail(self, error: Exception) -> None:
        """Note that the disk has refused, and say it."""
        self.has_failed = True
        text = str(error) if isinstance(error, RunFolderError) else f"{self.folder}: {described(error)}"
        say(f"{text}; training goes on without it")

    def _writer(
        self, folder: Path, config: Mapping[str, Any], state: Callable[[], Mapping[str, Any]]
    ) -> RunWriter:
        if self.goes_on:
            self.run_id = run_id(folder) or self.run_id
        more: dict[str, Any] = {"run": self.run_id}
        for place in numbered(folder):
            try:
                return RunWriter(
                    place,
                    {**config, **in_words(more)},
                    resume=self.goes_on,
                    state=state,
                    folder_mb=self._folder_mb,
                )
            except FolderTakenError as error:
                if not self._beside:
                    raise
                if self.goes_on:
                    self.goes_on, self.run_id = False, new_run_id()
                    more = {"run": self.run_id, "continues": {"folder": str(folder)}}
                say(f"{error}; the run is kept in a folder beside it")
        raise RunFolderError(f"{folder}: no name beside it is free")


class RunFolder(Listener):
    """Keeps a run in its folder."""

    def __init__(self, writer: RunWriter) -> None:
        self._writer = writer

    def record(self, record: StepRecord) -> None:
        """Keep a step's readings."""
        self._writer.record(record)

    def incident(self, change: IncidentChange) -> None:
        """Keep what happened to an incident."""
        self._writer.incident(change)

    def flush(self) -> None:
        """Write what is held back."""
        self._writer.flush()

    def verdict(self, verdict: Verdict, document: Mapping[str, Any]) -> None:
        """Write the verdict last."""
        self._writer.close()
        self._writer.verdict(document)


class _TensorBoard(Listener):
    """Shows a run in TensorBoard."""

    def __init__(self, writer: TensorBoardWriter) -> None:
        self._writer = writer

    def record(self, record: StepRecord) -> None:
        """Show a step's readings."""
        self._writer.record(record)

    def incident(self, change: IncidentChange) -> None:
        """Show what happened to an incident."""
        self._writer.incident(change)

    def verdict(self, verdict: Verdict, document: Mapping[str, Any]) -> None:
        """Write the last pictures and the verdict."""
        self._writer.close(f"**{verdict.outcome}**: {verdict.reason}")


def new_run_id() -> str:
    """Return what tells a run from every other; it draws from no random state of training's."""
    return uuid.uuid4().hex


def run_id(folder: Path) -> str | None:
    """Return which run a folder holds; None where it does not say.

    Raises:
        RunFolderError: It is no run's folder, or cannot be read.
    """
    found = open_run(folder).config.get("run")
    return found if isinstance(found, str) else None


def numbered(base: Path) -> Iterator[Path]:
    """Yield a folder's name, and then that name with numbers from 2 on."""
    yield base
    yield from (base.with_name(f"{base.name}-{n}") for n in itertools.islice(itertools.count(2), _NAMES))


def in_words(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what YAML has words for: a detector of somebody's own may have anything among its settings."""

    def in_words(value: Any) -> Any:
        return value.item() if isinstance(value, np.generic) else str(value)

    words: dict[str, Any] = json.loads(json.dumps(document, default=in_words))
    return words


def environment() -> dict[str, Any]:
    """Return what bit-equality holds for: versions, CPU capability, threads and what changes kernels."""
    names = ("OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")
    return {
        "stabilitykit": version("stabilitykit"),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "variables": {name: os.environ[name] for name in names if name in os.environ},
    }
