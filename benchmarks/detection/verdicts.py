"""Does the probe say what is known? Four cells over seeds, with the step at which each alarm was announced.

With the probe's defaults: double_norm and pre_norm are stable; post_norm at LR 1e-2 without warmup parks at
the unigram entropy, and an incident names a block long before the loss gives up; post_norm at LR 1e-3 with
warmup 100 is stable.

    python -m benchmarks.detection.verdicts --seeds 0 1 2 3 4
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from stabilitykit.lab.probe import ProbeResult, build_spec, probe

CELLS: dict[str, tuple[str, list[str], tuple[str, ...]]] = {
    "double_norm": ("double_norm", [], ("stable",)),
    "pre_norm": ("pre_norm", [], ("stable",)),
    "post_norm LR 1e-2 warmup 0": (
        "post_norm",
        ["optimizer.lr=1e-2", "schedule.warmup=0"],
        ("stuck", "diverged"),
    ),
    "post_norm LR 1e-3 warmup 100": ("post_norm", ["optimizer.lr=1e-3", "schedule.warmup=100"], ("stable",)),
}
"""Architecture, overrides and expected verdicts of each cell."""


def run(cell: str, seed: int, folder: str) -> ProbeResult:
    """Run one probe of a cell."""
    arch, overrides, _ = CELLS[cell]
    return probe(build_spec(arch, overrides=[*overrides, f"seed={seed}"]), Path(folder))


def describe(cell: str, seed: int, result: ProbeResult) -> str:
    """Return one line on a run."""
    expected = result.verdict.outcome in CELLS[cell][2]
    incidents = ", ".join(f"{i.kind}@{i.detected} {i.site}" for i in result.verdict.incidents) or "none"
    return (
        f"{'ok ' if expected else 'NOT'} {cell:30s} seed {seed:3d}: {result.verdict.outcome:9s} "
        f"final {result.final_loss or float('nan'):.3f}  incidents: {incidents}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every cell with every seed and print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    jobs = [(cell, seed) for cell in CELLS for seed in options.seeds]
    right = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool,
    ):
        futures = [pool.submit(run, c, s, f"{folder}/{n}") for n, (c, s) in enumerate(jobs)]
        for (cell, seed), future in zip(jobs, futures, strict=True):
            result = future.result()
            right += result.verdict.outcome in CELLS[cell][2]
            print(describe(cell, seed, result), flush=True)
    print(f"{right} of {len(jobs)} verdicts as expected")


if __name__ == "__main__":
    main()
