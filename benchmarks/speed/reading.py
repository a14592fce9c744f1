"""How long anybody's log takes to be read, and in how much memory: generated logs of many steps.

    python -m benchmarks.speed.reading --steps 1000000

Each log is read in a process of its own. `reading` is the time until every step record has been made, without
detectors; `judged` the time of reading it again with all detectors, as `diagnose` does; `memory` what both
took beyond what the imports need.
"""

import argparse
import json
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from stabilitykit.afterwards.replay import replay
from stabilitykit.store import LogReading


def losses(steps: int) -> Iterator[tuple[int, float]]:
    """Yield steps with a loss."""
    source = random.Random(0)
    for step in range(steps):
        yield step, 2 + 0.1 * source.random()


def csv(step: int, loss: float) -> str:
    """Return a row of four cells."""
    return f"{step},{loss:.5f},{loss / 2:.4f},0.0003\n"


def jsonl(step: int, loss: float) -> str:
    """Return an object of five numbers."""
    return json.dumps({"step": step, "loss": loss, "grad_norm": loss / 2, "lr": 3e-4, "time": 0.1}) + "\n"


def nanogpt(step: int, loss: float) -> str:
    """Return a line as nanoGPT's."""
    return f"iter {step}: loss {loss:.4f}, time 250.12ms, mfu 30.12%\n"


def megatron(step: int, loss: float) -> str:
    """Return a line as Megatron-LM's."""
    return (
        f" [2024-01-01 10:00:00] iteration {step:8d}/ 9999999 | consumed samples: {step * 256} | elapsed time"
        f" per iteration (ms): 12345.6 | learning rate: 3.000E-04 | global batch size:   256 | lm loss:"
        f" {loss:.6E} | loss scale: 1.0 | grad norm: {loss / 2:.3f} | number of skipped iterations:   0 |\n"
    )


def events(path: Path, steps: int) -> None:
    """Write one event a scalar, two scalars a step, as SummaryWriter does; without checksums of the data."""
    with path.open("wb") as file:
        for step, loss in losses(steps):
            for tag in ("Loss/train", "grad_norm"):
                value = Summary.Value(tag=tag, simple_value=loss)
                event = Event(wall_time=1.7e9 + step, step=step, summary=Summary(value=[value]))
                data = event.SerializeToString()
                file.write(struct.pack("<Q4x", len(data)) + data + bytes(4))


def write(folder: Path, steps: int) -> list[Path]:
    """Write a log of each format."""
    paths = []
    for name, head, form in (
        ("metrics.csv", "step,loss,grad_norm,lr\n", csv),
        ("history.jsonl", "", jsonl),
        ("nanogpt.log", "", nanogpt),
        ("megatron.log", "", megatron),
    ):
        paths.append(folder / name)
        with paths[-1].open("w") as file:
            file.write(head)
            file.writelines(form(step, loss) for step, loss in losses(steps))
    paths.append(folder / "events.out.tfevents.1")
    events(paths[-1], steps)
    return paths


def measure(path: Path) -> None:
    """Read one log and print a row of the table."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter(), time.process_time()
    reading = LogReading(path, {})
    n = sum(1 for _ in reading.records)
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    began = time.perf_counter(), time.process_time()
    replay(path)
    judged = time.process_time() - began[1]
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    size = path.stat().st_size / 2**20
    times = f"{wall:.1f} | {cpu:.1f} | {1e6 * cpu / n:.1f} | {judged:.1f}"
    print(f"| {path.name} | {size:.0f} | {n} | {times} | {memory:.0f} |", flush=True)


def main() -> None:
    """Write the logs and measure each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read is not None:
        measure(asked.read)
        return
    print(
        "| log | MiB | steps | reading, s | CPU, s | µs a step | judged, CPU s | memory, MiB |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        for path in write(Path(folder), asked.steps):
            subprocess.run(
                [sys.executable, "-m", "benchmarks.speed.reading", "--read", str(path)], check=True
            )


if __name__ == "__main__":
    main()
