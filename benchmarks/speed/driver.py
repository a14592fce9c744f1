"""What a sweep of ten thousand cells asks of its driver, and what one cell leaves on disk.

    python -m benchmarks.speed.driver [--cells 10000] [--backends]

The workers here answer at once, so what is timed is the driver alone: planning, submitting, taking results,
and going on with a folder in which everything is done. ``--backends`` times what Ray and submitit's local
executor take for jobs that do nothing.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stabilitykit.lab.claims import sweep
from stabilitykit.lab.sweep.backends import Ended, Job
from stabilitykit.lab.sweep.grid import (
    CellResult,
    SweepPlan,
    open_sweep,
    plan_files,
    read_axis,
    write_result,
)

SHARED = {"data": {"kind": "synthetic", "synthetic": {"length": 20_000}}}
AXES = {
    "arch": ["post_norm", "pre_norm", "double_norm"],
    "schedule.warmup": [0, 30],
    "optimizer.lr": "1e-3:1:13",
}
SETTINGS = len(AXES["arch"]) * len(AXES["schedule.warmup"]) * 13


class Instant:
    """Workers that answer at once."""

    def __init__(self, slots: int = 64) -> None:
        self.slots = slots
        self._waiting: list[Job] = []

    def submit(self, job: Job) -> None:
        """Take a job."""
        self._waiting.append(job)

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return all of them as done."""
        jobs, self._waiting = self._waiting, []
        for job in jobs:
            write_result(job.folder, RESULT)
        return [Ended(job, RESULT) for job in jobs]

    def close(self) -> None:
        """Give nothing back."""


RESULT = CellResult("stable", "no incident of the loss", 5.5, 3.2, 3.1, 300, 10.0)


def main() -> None:
    """Print all of it as tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--backends", action="store_true")
    chosen = parser.parse_args()
    if chosen.backends:
        _backends()
        return
    _driver(chosen.cells)
    _disk()


def _driver(cells: int) -> None:
    seeds = tuple(range(-(-cells // SETTINGS)))
    count = SETTINGS * len(seeds)

    def plan() -> SweepPlan:
        axes = tuple(read_axis(*axis) for axis in AXES.items())
        return SweepPlan(fields=SHARED, axes=axes, seeds=seeds)

    print(f"| what the driver does, {count} cells | seconds | cells a second |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _row("plan: specs and names", count, lambda: [cell.key for cell in plan().cells()])
        _row("a sweep whose workers answer at once", count, lambda: sweep(plan(), Instant(), folder))
        _row("the same command again", count, lambda: sweep(plan(), Instant(), folder))
        _row("open it to compare", count, lambda: open_sweep(plan_files(folder)[0]))


def _row(what: str, cells: int, call: Callable[[], Any]) -> None:
    start = time.perf_counter()
    call()
    took = time.perf_counter() - start
    print(f"| {what} | {took:.1f} | {cells / took:.0f} |", flush=True)


def _disk() -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from stabilitykit.lab.probe import build_spec
    from stabilitykit.lab.sweep.run_cell import run_cell

    small = (
        "model.d_model=48",
        "model.n_layers=4",
        "model.attention.n_heads=4",
        "model.seq_len=32",
        "data.batch_size=16",
    )
    sizes = {
        "default, 300 steps": (),
        "default, 50 steps": ("trainer.steps=50",),
        "science, 240 steps": (*small, "trainer.steps=240"),
        "science, one step in ten": (*small, "trainer.steps=240", "monitor.every_n_steps=10"),
        "science, 12 layers": (*small, "trainer.steps=240", "model.n_layers=12"),
    }
    columns = [
        "a cell on disk",
        "files",
        "kB",
        "readings",
        "TensorBoard",
        "coverage.json",
        "s in TensorBoard",
    ]
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, overrides in sizes.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "cell"
            run_cell(Job(build_spec("pre_norm", overrides=overrides), folder))
            parts: dict[str, int] = defaultdict(int)
            for file in (files := [file for file in folder.rglob("*") if file.is_file()]):
                kind = "tensorboard" if "tfevents" in file.name else file.relative_to(folder).parts[0]
                parts[kind] += file.stat().st_size
            kilobytes = [sum(parts.values()), parts["readings"], parts["tensorboard"], parts["coverage.json"]]
            shown = " | ".join(f"{size / 1e3:.0f}" for size in kilobytes)
            start = time.perf_counter()
            EventAccumulator(str(folder)).Reload()
            print(f"| {name} | {len(files)} | {shown} | {time.perf_counter() - start:.3f} |", flush=True)


def _nothing(job: Job) -> None:
    """Do nothing."""


def _backends() -> None:
    import ray
    import submitit

    from stabilitykit.lab.probe import build_spec

    job = Job(build_spec("pre_norm"), Path("nowhere"))
    print("| jobs that do nothing | a second |\n|---|---|")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    task = ray.remote(_nothing).options(max_retries=0)
    ray.get([task.remote(job) for _ in range(20)])
    start = time.perf_counter()
    ray.get([task.remote(job) for _ in range(1000)])
    print(
        f"| Ray, two workers that are there already | {1000 / (time.perf_counter() - start):.0f} |",
        flush=True,
    )
    ray.shutdown()
    with tempfile.TemporaryDirectory() as place:
        executor = submitit.AutoExecutor(folder=place, cluster="local")
        start = time.perf_counter()
        jobs = [executor.submit(_nothing, job) for _ in range(10)]
        print(f"| submitit, submitting alone | {10 / (time.perf_counter() - start):.1f} |")
        for each in jobs:
            each.result()


if __name__ == "__main__":
    sys.exit(main())
