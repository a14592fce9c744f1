"""Run steps in turn, in alternating order, as they are and under the profiler."""

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from stabilitykit.lab.cost.device import measuring_device, wait_for_device
from stabilitykit.lab.cost.measured.attribution import STEP, kernels
from stabilitykit.lab.cost.measured.events import events_of
from stabilitykit.lab.cost.measured.places import Namer, marked
from stabilitykit.lab.cost.operation import Pass

WARMUP, FEWEST, MOST = 2, 5, 200
"""Steps that do not count; and rounds."""


@dataclass(frozen=True)
class Step:
    """Something that can be run again and again: a step of training, or of generating."""

    model: nn.Module
    run: Callable[[], object]
    namer: Namer
    """Tells which operation a place of the model belongs to."""


@dataclass
class Times:
    """What one step took in every round, in seconds."""

    plain: list[float] = field(default_factory=list)
    """Without the profiler."""
    profiled: list[float] = field(default_factory=list)
    """With it."""
    kernels: list[dict[tuple[str | None, Pass, str], float]] = field(default_factory=list)
    """Of every kernel, by operation, pass and name; the operation is None where it is not known."""


def run_rounds(
    steps: Sequence[Step], seconds: float, on_progress: Callable[[float], None] | None = None
) -> list[Times]:
    """Return what every step took: in each round all run as they are, then all under the profiler.

    Args:
        steps: What is compared; rounds are paired across them.
        seconds: About how long all rounds together take; there are 5 of them at least and 200 at most.
        on_progress: Called with the share that is done, from 0 on.
    """
    told = on_progress or (lambda done: None)
    for step in steps:
        for _ in range(WARMUP):
            step.run()
            told(0.0)
    times = [Times() for _ in steps]
    begun, rounds = time.perf_counter(), 0
    with _no_collecting():
        while rounds < FEWEST or (rounds < MOST and time.perf_counter() - begun < seconds):
            order = list(range(len(steps)))[:: 1 if rounds % 2 else -1]
            for n in order:
                times[n].plain.append(_timed(steps[n]))
            _profiled(steps, order, times)
            rounds += 1
            spent = (time.perf_counter() - begun) / seconds if seconds else 1.0
            told(min(1.0, max(rounds / MOST, min(rounds / FEWEST, spent))))
    return times


def _timed(step: Step) -> float:
    wait_for_device()
    start = time.perf_counter()
    step.run()
    wait_for_device()
    return time.perf_counter() - start


def _profiled(steps: Sequence[Step], order: Sequence[int], times: Sequence[Times]) -> None:
    kinds = {"cpu": ProfilerActivity.CPU, "cuda": ProfilerActivity.CUDA}
    activities = [kinds[each] for each in sorted({"cpu", measuring_device().type})]
    with profile(activities=activities) as profiler:
        for n in order:
            with marked(steps[n].model, steps[n].namer), record_function(f"{STEP}{n}"):
                times[n].profiled.append(_timed(steps[n]))
    found: list[dict[tuple[str | None, Pass, str], float]] = [defaultdict(float) for _ in steps]
    for kernel in kernels(events_of(profiler)):
        found[int(kernel.step)][kernel.operation, kernel.work, kernel.name] += kernel.seconds
    for each, one in zip(times, found, strict=True):
        each.kernels.append(dict(one))


@contextmanager
def _no_collecting() -> Iterator[None]:
    """Keep Python from collecting garbage in the middle of a step."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
