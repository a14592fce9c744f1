"""Cells for pools, and what is left of them; as a script, a driver that waits to be killed."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stabilitykit.lab.probe import ProbeSpec, build_spec
from stabilitykit.lab.sweep.backends import Ended, Job, Pool, backend_config, make_pool
from stabilitykit.lab.sweep.grid import read_result
from stabilitykit.store import open_run

TINY = ("model.d_model=16", "model.n_layers=2", "model.seq_len=16", "data.batch_size=4")
PATIENCE = 120.0
"""Seconds after which a test gives up: an import of torch takes twenty on a busy machine."""


def cell(corpus: Path, *overrides: str) -> ProbeSpec:
    """Return a tiny cell of ten steps."""
    return build_spec("post_norm", overrides=[*TINY, "trainer.steps=10", f"data.path={corpus}", *overrides])


def endless(corpus: Path) -> ProbeSpec:
    """Return a cell that outlasts any test."""
    return cell(corpus, "trainer.steps=1000000", "schedule.warmup=5")


def until(found: Callable[[], Any]) -> Any:
    """Return what a function finds in the end.

    Raises:
        TimeoutError: It finds nothing.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise TimeoutError("nothing was found in time")


def finish(pool: Pool, jobs: Sequence[Job], running: int = 0) -> list[Ended]:
    """Give all jobs to a pool, in which so many run already, and return how all of these ended."""
    left, ended = list(jobs), list[Ended]()
    deadline = time.monotonic() + PATIENCE
    while len(ended) < len(jobs) + running:
        while left and len(jobs) + running - len(left) - len(ended) < pool.slots:
            pool.submit(left.pop(0))
        ended += pool.wait(0.5)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(ended)} of {len(jobs) + running} jobs have ended in time")
    return ended


def kept(folder: Path) -> tuple[Any, ...]:
    """Return what a cell's folder says that must not depend on where it was trained."""
    result = read_result(folder)
    if result is None:
        raise ValueError(f"{folder} has no result")
    document = result.to_json()
    del document["seconds"]
    return document, [(r.step, r.tags, r.values.tobytes()) for r in open_run(folder).records()]


def worker_of(folder: Path) -> int | None:
    """Return the process that has files of a run open."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if any(str(link.readlink()).startswith(f"{folder}/") for link in (process / "fd").iterdir()):
                    return int(process.name)
            except OSError:
                continue
    return None


def is_gone(process: int) -> bool:
    """Return whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def main(kind: str, corpus: str, folder: str, *options: str) -> None:
    """Train an endless cell until somebody kills this process."""
    spec = endless(Path(corpus))
    pool = make_pool(backend_config(kind, 1, None, options), [spec.trainer])
    pool.submit(Job(spec, Path(folder)))
    while True:
        pool.wait(1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
