"""The benchmark of alarms: how early each kind and each internal signal warns, and how often falsely.

    python -m benchmarks.alarms.early_warning train        # all runs, into runs/alarms: two hours
    python -m benchmarks.alarms.early_warning pack         # their readings as Parquet, in runs/alarms-data
    python -m benchmarks.alarms.early_warning score        # the open runs: figures, and limits to freeze
    python -m benchmarks.alarms.early_warning publish      # the locked runs too: docs/benchmark.md
    python -m benchmarks.alarms.early_warning mine my_package:MyDetector --data benchmarks/alarms/frozen

What ended the training does not matter: the same command goes on with what is missing. ``train`` is the same
as ``stabilitykit sweep recipes/alarms_boundary.yaml --logdir runs/alarms`` and so on for each recipe, which
also run on Ray or Slurm.
"""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as RichTable

from benchmarks.alarms.dataset import read_dataset, write_dataset
from benchmarks.alarms.folder import ARMS, PREFIX, read_runs
from benchmarks.alarms.frozen import frozen, pick
from benchmarks.alarms.kinds import alarms_of
from benchmarks.alarms.labels import label_runs
from benchmarks.alarms.locked import freeze, write_limits
from benchmarks.alarms.methods import Method, Scored
from benchmarks.alarms.page import publish
from benchmarks.alarms.runs import Run
from benchmarks.alarms.study import NATURAL, score, study
from benchmarks.alarms.tables import rows_table
from benchmarks.detection.tables import Table
from benchmarks.science.recipe_runs import trained
from stabilitykit.errors import StabilityKitError
from stabilitykit.lab.sweep import read_plan

ROOT = Path(__file__).parents[2]
FROZEN = Path(__file__).parent / "frozen"
"""A few runs of each arm and label, small enough to be kept with the code."""
NONE = np.empty(0, np.int64)
"""No alarms."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is asked."""
    options = parse(arguments)
    console = Console(stderr=True)
    try:
        if options.what == "train":
            train(options.logdir, options.workers, console)
        elif options.what == "pack":
            pack(options.logdir, options.data, console)
        else:
            judge(options, console)
    except StabilityKitError as error:
        raise SystemExit(str(error)) from None


def train(logdir: Path, workers: int, console: Console) -> None:
    """Train what is missing."""
    plans = [read_plan(ROOT / "recipes" / f"{PREFIX}{arm}.yaml") for arm in ARMS]
    for _ in trained(plans, logdir, workers, console):
        pass


def pack(logdir: Path, data: Path, console: Console) -> None:
    """Write all finished runs as Parquet, and a few of them beside the code."""
    reading = read_runs(logdir)
    if reading.left_out:
        name, why = next(iter(reading.left_out.items()))
        console.print(f"{len(reading.left_out)} cells are left out, the first of them {name}: {why}")
    write_dataset(reading.runs, data)
    labels = {name: str(label.kind) for name, label in label_runs(reading.runs).items()}
    frozen(reading.runs, pick(reading.runs, labels, each=2), FROZEN)
    console.print(
        f"{len(reading.runs)} runs in {data}, {size(data):.1f} MB; a few in {FROZEN}, {size(FROZEN):.1f} MB"
    )


def judge(options: argparse.Namespace, console: Console) -> None:
    """Score the open runs and freeze the limits; or publish all; or score somebody's own detector."""
    runs = read_dataset(options.data)
    if options.what == "mine":
        show(console, own(options.detector, runs))
        return
    if options.what == "score":
        opened = [run for run in runs if run.arm != "locked"]
        with ticking(len(opened)) as tick:
            scored = Scored(opened, tick)
        found = study(opened, scored)
        write_limits(freeze(scored, found.natural))
        show(console, rows_table(found.group("kinds"), "kind"))
        return
    with ticking(len(runs)) as tick:
        scored = Scored(runs, tick)
    publish(runs, scored, options.docs)
    console.print(f"{options.docs} is written")


def own(detector: str, runs: Sequence[Run]) -> Table:
    """Return how one's own detector did on the natural runs.

    Args:
        detector: ``module:name`` of a ``Detector``, or of a function from step records to findings.
        runs: The runs.
    """
    module, _, name = detector.partition(":")
    chosen = getattr(importlib.import_module(module), name)
    labels = {run: label for run, label in label_runs(runs).items() if label.arm in NATURAL}
    said = {run.name: alarms_of(run, chosen) for run in runs if run.name in labels}
    kinds = sorted({kind for found in said.values() for kind in found})
    methods = [
        Method(kind, "kinds", {run: found.get(kind, NONE) for run, found in said.items()}) for kind in kinds
    ]
    return rows_table(score(methods, labels), "kind")


def size(folder: Path) -> float:
    """Return megabytes."""
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def show(console: Console, table: Table) -> None:
    """Print a table."""
    shown = RichTable(box=None, header_style="dim")
    for place, name in enumerate(table.head):
        shown.add_column(name, justify="right" if place else "left")
    for row in table.rows:
        shown.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 190).print(shown)


@contextmanager
def ticking(total: int) -> Iterator[Callable[[], None]]:
    """Show a bar of progress on stderr, and yield what moves it on."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("runs", total=total)
        yield lambda: progress.advance(task)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "pack", "score", "publish", "mine"))
    parser.add_argument("detector", nargs="?", default="", help="with mine: module:name")
    parser.add_argument("--logdir", type=Path, default=ROOT / "runs" / "alarms", help="folder of all runs")
    parser.add_argument("--data", type=Path, default=ROOT / "runs" / "alarms-data", help="their readings")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument(
        "--docs", type=Path, default=ROOT / "docs" / "benchmark.md", help="where the page goes"
    )
    options = parser.parse_args(arguments)
    if (options.what == "mine") != bool(options.detector):
        parser.error("module:name is needed with mine, and with nothing else")
    return options


if __name__ == "__main__":
    # Windows that hold NaN or Inf are ordinary here.
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    main()
