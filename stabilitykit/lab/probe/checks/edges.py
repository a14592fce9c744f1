"""The table of measured edges: how it is made from runs, written, and read. No torch."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stabilitykit.errors import ConfigError

FAILING_SHARE = 0.5
"""Share of a rate's runs that must have failed for the rate to be called failing."""
_FILE = "edges.yaml"


class RunOutcome(NamedTuple):
    """How one run ended, with what the table knows of it."""

    wiring: str
    qk_norm: str
    warmup: float
    """Warmup over all steps."""
    n_layers: int
    lr: float
    seed: int
    failed: bool


@dataclass(frozen=True, slots=True)
class EdgeRow:
    """Where one setting's learning rates stop holding."""

    wiring: str
    qk_norm: str
    warmup: float
    """Warmup over all steps."""
    n_layers: int
    holds: float | None
    """Highest rate up to which no run failed; None where the lowest one tried failed already."""
    fails: float | None
    """Lowest rate from which on at least half of the runs failed; None where the highest one tried held."""
    lowest: float
    """Lowest rate tried."""
    runs: int
    """Runs behind this row."""


@dataclass(frozen=True, slots=True)
class EdgeTable:
    """All measured edges, and the sizes of the runs behind them."""

    sizes: Mapping[str, int]
    """``d_model``, ``n_heads``, ``seq_len``, ``batch_size`` and ``steps``."""
    rows: tuple[EdgeRow, ...]


def edges(results: Iterable[RunOutcome]) -> list[EdgeRow]:
    """Return one row a setting: how far its rates hold, and from where on they fail.

    A single run that fails among ones that hold ends what holds; a single one that holds among failing ones
    does not begin what holds. In between lie the rates of which nothing can be said.

    Args:
        results: Runs, in any order.
    """
    settings: dict[tuple[str, str, float, int], dict[float, list[bool]]] = defaultdict(dict)
    for run in results:
        rates = settings[run.wiring, run.qk_norm, round(run.warmup, 3), run.n_layers]
        rates.setdefault(run.lr, []).append(run.failed)
    return [_row(setting, settings[setting]) for setting in sorted(settings)]


def _row(setting: tuple[str, str, float, int], rates: Mapping[float, Sequence[bool]]) -> EdgeRow:
    shares = [(rate, sum(rates[rate]) / len(rates[rate])) for rate in sorted(rates)]
    holds = fails = None
    for rate, share in shares:
        if share > 0:
            break
        holds = rate
    for rate, share in reversed(shares):
        if share < FAILING_SHARE:
            break
        fails = rate
    return EdgeRow(*setting, holds, fails, shares[0][0], sum(map(len, rates.values())))


def write_edges(path: Path, table: EdgeTable, origin: str) -> None:
    """Write a table as YAML, a row a line.

    Args:
        path: The file.
        table: What to write.
        origin: How it was made, for the head of the file; lines without ``#``.
    """
    head = "".join(f"# {line}\n" for line in origin.splitlines())
    sizes = yaml.safe_dump(dict(table.sizes), default_flow_style=True, width=1000).strip()
    lines = [
        yaml.safe_dump(_plain(row), default_flow_style=True, sort_keys=False, width=1000)
        for row in table.rows
    ]
    path.write_text(f"{head}sizes: {sizes}\nrows:\n" + "".join(f"  - {line}" for line in lines), "utf-8")


def _plain(row: EdgeRow) -> dict[str, Any]:
    return dataclasses.asdict(row)


@cache
def read_edges(path: Path | None = None) -> EdgeTable:
    """Return a table of edges; read once.

    Args:
        path: The file; the one shipped with the package unless given.

    Raises:
        ConfigError: The file is no such table.
    """
    text = path.read_text("utf-8") if path else files(__package__).joinpath(_FILE).read_text("utf-8")
    document = yaml.safe_load(text)
    try:
        rows = tuple(EdgeRow(**row) for row in document["rows"])
        return EdgeTable(document["sizes"], rows)
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path or _FILE}: not a table of edges: {error}") from None
