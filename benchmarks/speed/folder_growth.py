"""What keeping a run costs, and how large its folder gets: 250 tags, the default budget, TensorBoard too.

Step records with the tags of a real model and readings that scatter like real ones are recorded as fast as
possible; the detectors are fed the first of them, so that their state, which is kept with every segment, has
its full size. Prints the folder's size at every tenth of the run, the largest it ever was, and for each
writer the mean time a step takes and the longest ones.

    python -m benchmarks.speed.folder_growth                      # 1,000,000 steps
    python -m benchmarks.speed.folder_growth --steps 100000 --incidents 50
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.records import Finding, Incident, IncidentChange, Severity, StepRecord
from stabilitykit.store import FOLDER_MB, RunWriter, TensorBoardWriter, open_run

BLOCKS = 12
BLOCK_TAGS = (
    *(
        f"act/rms/{{}}.{site}"
        for site in ("resid_pre", "resid_mid", "resid_post", "attn_norm_in", "mlp_norm_in")
    ),
    *(f"act/max_abs/{{}}.{site}" for site in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")),
    *(f"act/rms/{{}}.{site}" for site in ("attn_out", "mlp_out")),
    *(f"{name}/{{}}" for name in ("attn/logit_max", "attn/entropy", "grad/norm", "grad/share")),
    *(f"{name}/{{}}" for name in ("optim/update_ratio", "optim/rms_t", "param/norm", "optim/update_norm")),
)
TAGS = (
    *(tag.format(f"blocks.{block:02d}") for block in range(BLOCKS) for tag in BLOCK_TAGS),
    *(f"grad/share/{group}" for group in ("embedding", "head", "final_norm")),
    *("train/loss", "train/unigram_cross_entropy", "optim/lr", "optim/grad_norm", "output/log_z"),
    *("act/rms/head.logits", "act/max_abs/head.logits"),
)


def records(steps: int) -> Iterator[StepRecord]:
    """Yield records: every reading scatters by 5 % about a level that drifts."""
    generator = np.random.default_rng(0)
    level = generator.uniform(-3, 3, len(TAGS))
    for first in range(0, steps, 1000):
        level += 0.01 * generator.standard_normal(len(TAGS))
        rows = np.exp(level + 0.05 * generator.standard_normal((1000, len(TAGS)))).astype(np.float32)
        for step in range(first, min(steps, first + 1000)):
            yield StepRecord(step, TAGS, rows[step - first])


def change(number: int, step: int, what: str) -> IncidentChange:
    """Return an incident with as much evidence as one can have."""
    evidence = tuple(
        Finding("gradient_spike", f"blocks.{i:02d}", step, step, 9.0, 5.0, Severity.WARNING, "up " * 20)
        for i in range(12)
    )
    end = step if what == "closed" else None
    incident = Incident(
        number, "loss_spike", step, step, step, end, "train/loss", Severity.WARNING, 9.0, 5.0, "up " * 20,
        ("cause " * 20,), ("remedy " * 20,), evidence,
    )  # fmt: skip
    return IncidentChange(what, step, incident)  # type: ignore[arg-type]


class Clock:
    """Times of one kind of call: the processor's, which others do not change, and the clock's."""

    def __init__(self) -> None:
        self.busy = 0.0
        self.calls = 0
        self.longest: list[tuple[float, float]] = []

    def time(self, call: Callable[..., None], *arguments: object) -> None:
        """Call, and take the time."""
        start, wall = time.thread_time(), time.perf_counter()
        call(*arguments)
        busy, wall = time.thread_time() - start, time.perf_counter() - wall
        self.busy += busy
        self.calls += 1
        if len(self.longest) < 5 or busy > self.longest[-1][0]:
            self.longest = sorted([*self.longest, (busy, wall)], reverse=True)[:5]

    def __str__(self) -> str:
        longest = ", ".join(f"{1e3 * busy:.1f} ({1e3 * wall:.1f})" for busy, wall in self.longest)
        return f"{1e6 * self.busy / max(1, self.calls):7.1f} µs a call; longest {longest} ms"


def megabytes(folder: Path, pattern: str) -> float:
    """Return the size of what matches, in MB of 1e6 bytes."""
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file()) / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--incidents", type=int, default=100, help="spread evenly over the run")
    parser.add_argument("--folder-mb", type=float, default=FOLDER_MB)
    arguments = parser.parse_args()
    run, board, told = Clock(), Clock(), Clock()
    diagnosis = Diagnosis()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = RunWriter(folder, {}, state=diagnosis.snapshot, folder_mb=arguments.folder_mb)
        tensorboard = TensorBoardWriter(folder)
        print(f"{len(TAGS)} tags, {arguments.folder_mb:g} MB; sizes in MB")
        print("     steps    readings TensorBoard   incidents         all     largest")
        largest, number = 0.0, 0
        for record in records(arguments.steps):
            if record.step < 100:
                diagnosis.update(record)  # Fills the detectors' state, which is as large as ever after that.
            run.time(writer.record, record)
            board.time(tensorboard.record, record)
            if record.step * arguments.incidents // arguments.steps > number:
                number += 1
                for what in ("opened", "closed"):
                    told.time(writer.incident, change(number, record.step, what))
                    told.time(tensorboard.incident, change(number, record.step, what))
            if record.step % 1000 == 0:
                largest = max(largest, megabytes(folder, "**/*"))
            if (record.step + 1) % (arguments.steps // 10) == 0:
                parts = [megabytes(folder, each) for each in ("readings/*", "events*", "incidents*", "**/*")]
                sizes = "".join(f"{size:12.1f}" for size in (*parts, largest))
                print(f"{record.step + 1:10,d}{sizes}", flush=True)
        writer.close()
        tensorboard.close()
        print("processor time, by the clock in brackets")
        print(f"RunWriter.record          {run}")
        print(f"TensorBoardWriter.record  {board}")
        print(f"an incident, each writer  {told}")
        start = time.perf_counter()
        read = open_run(folder)
        print(f"opened in {1e3 * (time.perf_counter() - start):.0f} ms; thinned:", *read.thinned, sep="\n  ")


if __name__ == "__main__":
    main()
