"""Many logs read by processes: what comes back, in the order of the logs, is what one process gives."""

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from stabilitykit_cli import logs, parallel
from stabilitykit_cli.logs import AskedFor, read_all


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for n in range(8):
        (tmp_path / f"run{n}.csv").write_text(
            "step,loss\n" + "".join(f"{i},{3 - i / 9}\n" for i in range(20 + n))
        )
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "broken.csv").write_text("step,loss\n")
    return tmp_path


def _told(found: logs.Diagnosed) -> list[Any]:
    runs = [(path, repr(run.verdict), run.source, run.notes) for path, run in found.runs]
    failures = {path: str(error) for path, error in found.failures.items()}
    return [runs, failures, found.passed_over, found.several, found.interrupted]


def _in_pieces(paths: Sequence[Path], settings: dict[str, Any], workers: int) -> Iterator[Any]:
    for at in range(0, len(paths), 3):
        yield from parallel._read_piece(paths[at : at + 3], settings)


def test_what_comes_back_is_the_same_and_in_order(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = AskedFor((many,))
    alone = _told(read_all(asked))
    monkeypatch.setattr(logs, "MANY", 2)
    monkeypatch.setattr(parallel, "MANY", 2)
    monkeypatch.setattr(parallel, "_cores", lambda: 2)
    monkeypatch.setattr(parallel, "_read_apart", _in_pieces)
    assert _told(read_all(asked)) == alone
    assert len(alone[0]) >= 8


def test_where_a_process_is_killed_the_rest_is_read_here(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(paths: Sequence[Path], settings: dict[str, Any], workers: int) -> Iterator[Any]:
        yield from parallel._read_piece(paths[:3], settings)
        raise BrokenProcessPool

    asked = AskedFor((many,))
    alone = _told(read_all(asked))
    monkeypatch.setattr(logs, "MANY", 2)
    monkeypatch.setattr(parallel, "MANY", 2)
    monkeypatch.setattr(parallel, "_cores", lambda: 2)
    monkeypatch.setattr(parallel, "_read_apart", broken)
    assert _told(read_all(asked)) == alone


@pytest.mark.slow
def test_processes_give_the_same(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = AskedFor((many,))
    alone = _told(read_all(asked))
    monkeypatch.setattr(logs, "MANY", 2)
    monkeypatch.setattr(parallel, "MANY", 4)
    monkeypatch.setattr(parallel, "_PIECE", 2)
    monkeypatch.setattr(parallel, "_cores", lambda: 2)
    assert _told(read_all(asked)) == alone
