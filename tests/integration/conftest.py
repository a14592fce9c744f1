"""A tiny probe, a tiny Lightning run, on a small real text."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.pair import Pair

from stabilitykit.lab.probe import ProbeSpec, build_spec

TINY = (
    "model.n_layers=2",
    "model.d_model=32",
    "model.seq_len=16",
    "data.batch_size=4",
    "trainer.steps=30",
)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real text: this repository's own sources."""
    root = Path(__file__).parents[2]
    path = tmp_path_factory.mktemp("corpus") / "sources.txt"
    path.write_text("\n".join(p.read_text() for p in sorted((root / "stabilitykit").rglob("*.py"))))
    return path


@pytest.fixture
def tiny(corpus: Path) -> Callable[..., ProbeSpec]:
    def build(arch: str = "double_norm", *overrides: str) -> ProbeSpec:
        return build_spec(arch, overrides=[*TINY, f"data.path={corpus}", *overrides])

    return build


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pair]]:
    pairs = [Pair(tmp_path_factory.mktemp("pair"))]
    yield pairs
    pairs[-1].close()


@pytest.fixture
def pair(started: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Both processes; new ones where an earlier test had to end them."""
    if not started[-1].is_alive:
        started.append(Pair(tmp_path_factory.mktemp("pair")))
    return started[-1]
