"""Scores on a folder of labelled traces, by the scorer that lies in it."""

import gzip
import importlib.util
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.detection.log import Log, Said, Tool, read_log


@dataclass(frozen=True)
class Score:
    """A tool's score on the traces."""

    tool: Tool
    pooled: dict[str, Any]
    by_source: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]
    """One a trace: its id, label, source, the verdict, and counts."""

    def confusion(self) -> dict[tuple[str, str], int]:
        """Return how many traces of each label got each verdict."""
        pairs = [(row["label"], row["verdict"]) for row in self.rows]
        return {pair: pairs.count(pair) for pair in sorted(set(pairs))}


class Traces:
    """A folder with ``manifest.json``, ``score.py`` and the traces.

    Args:
        root: The folder.
        split: Which part of the manifest is scored.
    """

    def __init__(self, root: Path, split: str = "dev") -> None:
        self.root, self.split = root, split
        self.scorer = _load(root / "score.py")
        self.manifest = json.loads((root / "manifest.json").read_text())
        self._logs: dict[str, Log] = {}

    @property
    def scored(self) -> list[dict[str, Any]]:
        """The traces that count: those of the split without the ambiguous ones."""
        return [t for t in self.manifest["traces"] if t["split"] == self.split and t["label"] != "ambiguous"]

    def score(self, tool: Tool, tick: Callable[[], None] = lambda: None) -> Score:
        """Return a tool's score, over the traces that have the column it needs.

        Args:
            tool: The tool.
            tick: Called after every trace.
        """

        def detect(path: Path) -> tuple[str, list[dict[str, Any]]]:
            said = tool.judge(path, self._read(path))
            tick()
            return said.verdict, said.incidents

        with tempfile.TemporaryDirectory() as folder:
            self._write_manifest(Path(folder), tool.needs)
            pooled, by_source, rows = self.scorer.evaluate(Path(folder), self.split, detect)
        return Score(tool, pooled, by_source, rows)

    def judge(self, tool: Tool, names: Sequence[str]) -> dict[str, Said]:
        """Return what a tool says of some traces, by their ids."""
        with tempfile.TemporaryDirectory() as folder:
            said = {}
            for trace in self.manifest["traces"]:
                if trace["id"] in names:
                    path = Path(folder) / f"{trace['id']}.csv"
                    path.write_bytes(_plain(self.root / trace["file"]))
                    said[trace["id"]] = tool.judge(path, self._read(path))
        return said

    def log(self, trace: dict[str, Any]) -> Log:
        """Return what is in a trace."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{trace['id']}.csv"
            path.write_bytes(_plain(self.root / trace["file"]))
            return self._read(path)

    def _read(self, path: Path) -> Log:
        if path.stem not in self._logs:
            self._logs[path.stem] = read_log(path)
        return self._logs[path.stem]

    def _write_manifest(self, folder: Path, column: str) -> None:
        """Write a manifest of the traces that have a column; the scorer takes absolute paths, too."""
        traces = [
            {**trace, "file": str((self.root / trace["file"]).resolve())}
            for trace in self.manifest["traces"]
            if trace.get(f"has_{column}", True)
        ]
        (folder / "manifest.json").write_text(json.dumps({**self.manifest, "traces": traces}))


def _plain(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _load(path: Path) -> ModuleType:
    """Import a file that lies outside the packages."""
    spec = importlib.util.spec_from_file_location("traces_score", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path}: no scorer there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
