"""Cells a minute of a sweep against launching the same runs one by one as ``stabilitykit probe``.

    python -m benchmarks.speed.sweep [--rounds 5] [--cells 4] [--steps 60]

Every round times each way once, in an order that turns around from round to round, on cells that nobody has
trained before; the ratios are of neighbours in time. Starting is part of it, for all: a sweep's workers
import torch once, a probe each time. Then two workers are compared with one once both have started, as in any
sweep that is longer than a minute.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from stabilitykit.lab.claims import sweep
from stabilitykit.lab.cost.spread import median_ratio
from stabilitykit.lab.probe.spec import parse_override
from stabilitykit.lab.sweep import LocalPool, SweepPlan

SMALL = (
    *("--set", "model.d_model=48", "--set", "model.n_layers=4", "--set", "model.attention.n_heads=4"),
    *("--set", "model.seq_len=32", "--set", "data.batch_size=16"),
    *("--set", "data.kind=synthetic", "--set", "data.synthetic.length=200000"),
)
COMMAND = (sys.executable, "-m", "stabilitykit_cli")
WAYS = ("probes one by one", "sweep, 1 worker", "sweep, 2 workers")


def main() -> None:
    """Print cells a minute and the paired ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    chosen = parser.parse_args()
    times = np.empty((chosen.rounds, len(WAYS)))
    for n in range(chosen.rounds):
        order = range(len(WAYS)) if n % 2 else reversed(range(len(WAYS)))
        seeds = [n * chosen.cells + seed for seed in range(chosen.cells)]
        for way in order:
            times[n, way] = _timed(way, seeds, chosen.steps)
    print("| way | cells a minute | against probes one by one |\n|---|---|---|")
    for way, name in enumerate(WAYS):
        rate = chosen.cells * 60 / np.median(times[:, way])
        print(f"| {name} | {rate:.1f} | {median_ratio(times[:, 0], times[:, way]) if way else '1'} |")
    started = _started(chosen.rounds, chosen.cells, chosen.steps)
    print(f"two workers against one, once started: {median_ratio(started[:, 0], started[:, 1])}")


def _timed(way: int, seeds: list[int], steps: int) -> float:
    with tempfile.TemporaryDirectory() as place:
        shared = ("--arch", "pre_norm", "--steps", str(steps), *SMALL)
        start = time.perf_counter()
        if way == 0:
            for seed in seeds:
                _run("probe", *shared, "--seed", str(seed), "--logdir", str(Path(place) / str(seed)))
        else:
            # A comma makes a list of one seed as well.
            listed = ",".join(map(str, seeds))
            _run(
                "sweep", *shared, "--lr", "3e-3", "--seeds", listed, "--workers", str(way), "--logdir", place
            )
        return time.perf_counter() - start


def _started(rounds: int, cells: int, steps: int) -> np.ndarray:
    """Return the seconds that one and two workers take, a row a round, each after having trained a cell."""
    settings = dict(map(parse_override, SMALL[1::2])) | {"trainer.steps": steps}
    plan = SweepPlan(settings=settings).with_axes({"arch": "pre_norm"})
    pools = [LocalPool(1), LocalPool(2)]
    times = np.empty((rounds, len(pools)))
    try:
        for pool in pools:
            _sweep(replace(plan, seeds=tuple(range(pool.slots))), pool)
        for n in range(rounds):
            seeds = tuple(range(n * cells, (n + 1) * cells))
            for at in range(len(pools)) if n % 2 else reversed(range(len(pools))):
                times[n, at] = _sweep(replace(plan, seeds=seeds), pools[at])
    finally:
        for pool in pools:
            pool.close()
    return times


def _sweep(plan: SweepPlan, pool: LocalPool) -> float:
    with tempfile.TemporaryDirectory() as place:
        start = time.perf_counter()
        sweep(plan, pool, Path(place))
        return time.perf_counter() - start


def _run(*arguments: str) -> None:
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    main()
