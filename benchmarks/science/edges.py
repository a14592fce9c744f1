"""Up to which learning rate do runs hold? Writes the table that ``stabilitykit probe --check`` looks up.

Reads the finished runs of sweeps and writes, for every placement, QK-norm, warmup and depth, the highest rate
up to which no run failed and the lowest from which on at least half of them did. Only runs of the plain
transformer with AdamW count, all of the sizes named below.

    python -m benchmarks.alarms.early_warning train             # the benchmark's runs, two hours on two cores
    make science                                         # those of the lecture's claims, most of an hour
    python -m benchmarks.science.edges runs/alarms runs/science
"""

import argparse
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import yaml

from benchmarks.alarms.folder import arms_of
from stabilitykit.lab.probe import ProbeSpec
from stabilitykit.lab.probe.checks import EdgeTable, RunOutcome, edges, write_edges
from stabilitykit.lab.probe.checks.scope import is_on_another_text, outside, sizes_of
from stabilitykit.lab.probe.spec import spec_of

TABLE = Path(__file__).parents[2] / "stabilitykit/lab/probe/checks/edges.yaml"
SIZES = {"d_model": 48, "n_heads": 4, "seq_len": 32, "batch_size": 16, "steps": 240}
BEHIND = 0.5
"""Nats behind the best run of the placement at which a run has failed."""
USUAL = 1e-2
"""A placement is left out that has no run at this rate or below: what its best loss would be is not known."""
ORIGIN = """\
Where runs of the plain transformer stop holding: made by benchmarks/science/edges.py from {count} runs.
Failed: stuck or diverged, or {behind:g} nat behind the best run of the placement.
holds: highest rate up to which no run failed. fails: lowest from which on at least half of the runs did.
null: none was seen to. lowest: the lowest rate tried. warmup: its share of the steps. All with AdamW."""


@dataclass(frozen=True)
class Ended:
    """A finished run."""

    spec: ProbeSpec
    outcome: str
    final_loss: float | None


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of sweeps")
    parser.add_argument("-o", "--output", type=Path, default=TABLE, help="the table")
    arguments = parser.parse_args()
    # Sweeps share cells, which have the same name in all of them.
    runs = list({name: run for folder in arguments.folders for name, run in finished_runs(folder)}.values())
    results = outcomes(runs)
    rows = edges(results)
    write_edges(
        arguments.output, EdgeTable(SIZES, tuple(rows)), ORIGIN.format(count=len(results), behind=BEHIND)
    )
    print(f"{len(results)} of {len(runs)} runs, {len(rows)} rows: {arguments.output}")


def finished_runs(folder: Path) -> Iterator[tuple[str, Ended]]:
    """Yield the finished runs of a sweep by their names.

    Those in which something was broken on purpose are left out, and those of the benchmark's locked part, on
    which the table is scored.

    Args:
        folder: The sweep's folder.
    """
    locked = {name for name, arm in arms_of(folder).items() if arm == "locked"}
    for result in sorted(folder.glob("*/result.json")):
        if result.parent.name in locked:
            continue
        ended = json.loads(result.read_text("utf-8"))
        config = yaml.load((result.parent / "config.yaml").read_text("utf-8"), _LOADER)
        if "fault" not in config:
            yield result.parent.name, Ended(_spec(config), ended["outcome"], ended["final_loss"])


def outcomes(runs: Iterable[Ended]) -> list[RunOutcome]:
    """Return the runs that the table speaks of, and whether each failed.

    Args:
        runs: Finished runs.
    """
    plain = [run for run in runs if _is_measured(run.spec)]
    best = _best_losses(plain)
    return [
        RunOutcome(
            wiring=(model := run.spec.model).wiring,
            qk_norm=model.attention.qk_norm,
            warmup=run.spec.warmup / run.spec.trainer.steps,
            n_layers=model.n_layers,
            lr=run.spec.optimizer.lr,
            seed=run.spec.seed,
            failed=has_failed(run, best[model.wiring]),
        )
        for run in plain
        if run.spec.model.wiring in best
    ]


def has_failed(run: Ended, best: float) -> bool:
    """Return whether a run is stuck, diverged, or far behind.

    Args:
        run: The run.
        best: Lowest final loss of its placement, in nats.
    """
    if run.outcome in ("stuck", "diverged") or run.final_loss is None:
        return True
    return not run.final_loss <= best + BEHIND


def _best_losses(runs: Iterable[Ended]) -> dict[str, float]:
    """Return the lowest final loss of every placement that was tried at a usual rate."""
    losses: dict[str, list[float]] = {}
    usual = set()
    for run in runs:
        wiring = run.spec.model.wiring
        if run.final_loss is not None:
            losses.setdefault(wiring, []).append(run.final_loss)
        if run.spec.optimizer.lr <= USUAL:
            usual.add(wiring)
    return {wiring: min(found) for wiring, found in losses.items() if wiring in usual}


def _is_measured(spec: ProbeSpec) -> bool:
    # Another text has another best loss.
    return sizes_of(spec) == SIZES and not is_on_another_text(spec) and not outside(spec, SIZES)


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _spec(config: Mapping[str, Any]) -> ProbeSpec:
    fields = {name: value for name, value in config.items() if name in ProbeSpec.model_fields}
    return spec_of(str(config["arch"]), fields, {})


if __name__ == "__main__":
    main()
