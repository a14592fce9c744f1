"""What watching costs: paired ratios to a bare training step, host reads, readings and memory.

A plain GPT is trained by several loops in turn, a few steps each, in an order that changes from round to
round: bare, watched by us with everything on (taps, detectors, run folder, TensorBoard), and watched by
peers where they are installed (requirements-peers.txt, beside this file). Ratios are taken within a round,
since absolute times on a shared machine say little; the interval is a bootstrap over rounds.

    python -m benchmarks.speed.overhead                 # gpt: 4 blocks, d 128, T 128, batch 8
    python -m benchmarks.speed.overhead --size probe --arms bare ours ours-10
    python -m benchmarks.speed.overhead --memory        # peak memory of each arm, in processes of their own
"""

import argparse
import atexit
import contextlib
import importlib.util
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.plain_gpt import SIZES, Loop, Size, batches

Step = Callable[[Tensor], object]
Count = Callable[[], int]


@contextlib.contextmanager
def bare(size: Size, device: str, folder: Path) -> Iterator[tuple[Step, Count]]:
    """Yield the bare loop."""
    loop = Loop(size, device)

    def step(batch: Tensor) -> None:
        loop.forward_backward(batch)
        loop.update()

    yield step, lambda: 0


@contextlib.contextmanager
def ours(size: Size, device: str, folder: Path, every: int = 1) -> Iterator[tuple[Step, Count]]:
    """Yield the loop under ``watch``."""
    from stabilitykit import watch

    loop = Loop(size, device)
    with watch(
        loop.model, loop.optimizer, folder, every_n_steps=every, on_incident=lambda i: None
    ) as monitor:

        def step(batch: Tensor) -> None:
            loss = loop.forward_backward(batch)
            loop.update()
            monitor.step(loss)

        yield step, lambda: len(monitor.latest().tags) if monitor.latest() else 0


@contextlib.contextmanager
def trainscope(
    size: Size, device: str, folder: Path, every: int | None = None
) -> Iterator[tuple[Step, Count]]:
    """Yield the loop under trainscope, at its default cadence or another one."""
    from trainscope import TrainScope
    from trainscope.core.config import TrainScopeConfig

    loop = Loop(size, device)
    cadence = {} if every is None else {"activation_metrics_every_n_steps": every}
    scope = TrainScope(loop.model, loop.optimizer, TrainScopeConfig(run_dir=str(folder), **cadence)).attach()
    steps = 0

    def step(batch: Tensor) -> None:
        nonlocal steps
        loss = loop.forward_backward(batch)
        scope.step(loss.item(), batch_index=steps)
        loop.update()
        steps += 1

    yield step, lambda: 0
    scope.detach()


@contextlib.contextmanager
def torchmortem(size: Size, device: str, folder: Path) -> Iterator[tuple[Step, Count]]:
    """Yield the loop under torchmortem."""
    from torchmortem import Autopsy

    loop = Loop(size, device)
    autopsy = Autopsy(loop.model, optimizer=loop.optimizer, sampling="balanced").__enter__()

    def step(batch: Tensor) -> None:
        loss = loop.forward_backward(batch)
        loop.update()
        autopsy.step(loss=loss.item())

    # Only the loop is timed, so it is never left; the report it would write as Python exits is not wanted.
    atexit.unregister(autopsy._atexit_handler)
    yield step, lambda: 0


@contextlib.contextmanager
def debug_overflow(size: Size, device: str, folder: Path) -> Iterator[tuple[Step, Count]]:
    """Yield the loop under transformers' DebugUnderflowOverflow."""
    from transformers.debug_utils import DebugUnderflowOverflow

    loop = Loop(size, device)
    DebugUnderflowOverflow(loop.model)

    def step(batch: Tensor) -> None:
        loop.forward_backward(batch)
        loop.update()

    yield step, lambda: 0


@contextlib.contextmanager
def grad_norm(size: Size, device: str, folder: Path) -> Iterator[tuple[Step, Count]]:
    """Yield the loop with Lightning's ``grad_norm`` of every parameter."""
    from lightning.pytorch.utilities import grad_norm as norms

    loop = Loop(size, device)
    found: dict[str, Any] = {}

    def step(batch: Tensor) -> None:
        loop.forward_backward(batch)
        found.update(norms(loop.model, 2))
        loop.update()

    yield step, lambda: len(found)


ARMS: dict[str, tuple[str | None, Callable[..., Any], dict[str, Any]]] = {
    "bare": (None, bare, {}),
    "ours": (None, ours, {}),
    "ours-10": (None, ours, {"every": 10}),
    "trainscope": ("trainscope", trainscope, {}),
    "trainscope-1": ("trainscope", trainscope, {"every": 1}),
    "torchmortem": ("torchmortem", torchmortem, {}),
    "DebugUnderflowOverflow": ("transformers", debug_overflow, {}),
    "lightning grad_norm": ("lightning", grad_norm, {}),
}
"""The package an arm needs, the loop, and its arguments."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="gpt")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10, help="steps of a round; of each arm for --memory")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--readings", action="store_true", help="compare readings with the CPU's instead")
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead of time")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arms = [a for a in arguments.arms if ARMS[a][0] is None or importlib.util.find_spec(str(ARMS[a][0]))]
    for missing in set(arguments.arms) - set(arms):
        print(f"{missing}: {ARMS[missing][0]} is not installed")
    if arguments.one:
        print(_peak(arguments.one, SIZES[arguments.size], arguments.steps))
    elif arguments.readings:
        _compare(SIZES[arguments.size], arguments.device)
    elif arguments.memory:
        _memory(arms, arguments.size, arguments.steps)
    else:
        _time(arms, arguments.size, arguments.device, arguments.rounds, arguments.steps)


def _time(arms: list[str], size: str, device: str, rounds: int, steps: int) -> None:
    data = batches(SIZES[size], steps).to(device)
    with contextlib.ExitStack() as stack, contextlib.redirect_stdout(io.StringIO()) as silenced:
        loops = {arm: _enter(stack, arm, SIZES[size], device) for arm in dict.fromkeys(["bare", *arms])}
        for step, _ in loops.values():
            _run(step, data)
        times: dict[str, list[float]] = {arm: [] for arm in loops}
        order = list(loops)
        for n in range(rounds):
            for arm in order if n % 2 else reversed(order):
                times[arm].append(_run(loops[arm][0], data))
            order = order[1:] + order[:1]
        reads = {arm: _host_reads(step, data) for arm, (step, _) in loops.items()}
        readings = {arm: count() for arm, (_, count) in loops.items()}
    del silenced
    print(f"{size}: {rounds} rounds of {steps} steps, one thread; ratio to the bare step")
    print("| arm | median ratio | 95 % interval | more host reads a step | readings |\n|---|---|---|---|---|")
    for arm in (each for each in loops if each != "bare"):
        ratio = np.array(times[arm]) / np.array(times["bare"])
        low, high = _interval(ratio)
        more = reads[arm] - reads["bare"]
        cells = (
            f"{np.median(ratio):.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{more:.1f}",
            f"{readings[arm] or ''}",
        )
        print(f"| {arm} | {' | '.join(cells)} |")
    print(f"bare step {1e3 * np.median(times['bare']) / steps:.1f} ms")


def _enter(stack: contextlib.ExitStack, arm: str, size: Size, device: str = "cpu") -> tuple[Step, Count]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))) / "run"
    _, loop, arguments = ARMS[arm]
    entered: tuple[Step, Count] = stack.enter_context(loop(size, device, folder, **arguments))
    return entered


def _run(step: Step, data: Tensor) -> float:
    start = time.perf_counter()
    for batch in data:
        step(batch)
    if data.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _interval(ratios: np.ndarray) -> tuple[float, float]:
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(low), float(high)


def _host_reads(step: Step, data: Tensor) -> float:
    """Return how often a step reads from the device, as calls of the tensor methods that do."""
    calls = 0
    names = ("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__format__")
    originals = {name: getattr(Tensor, name) for name in names}

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            return original(*args, **kwargs)

        return call

    for name, original in originals.items():
        setattr(Tensor, name, counted(original))
    try:
        _run(step, data)
    finally:
        for name, original in originals.items():
            setattr(Tensor, name, original)
    return calls / len(data)


def _compare(size: Size, device: str) -> None:
    """Print the largest differences of a few steps' readings between the CPU and another device."""
    from stabilitykit import watch

    found = []
    for where in ("cpu", device):
        loop, data = Loop(size, where), batches(size, 3).to(where)
        with watch(loop.model, loop.optimizer) as monitor:
            for batch in data:
                loss = loop.forward_backward(batch)
                loop.update()
                monitor.step(loss)
        found.append(monitor.latest().readings)
    one, other = found
    print(f"only on one of them: {sorted(one.keys() ^ other.keys())}")
    error = {tag: abs(one[tag] - other[tag]) / max(abs(one[tag]), 1e-6) for tag in one.keys() & other.keys()}
    for tag in sorted(error, key=error.__getitem__, reverse=True)[:12]:
        print(f"{tag}: {one[tag]:.6g} and {other[tag]:.6g}")


def _memory(arms: list[str], size: str, steps: int) -> None:
    print("| arm | peak resident memory over bare |\n|---|---|")
    peaks = {}
    for arm in dict.fromkeys(["bare", *arms]):
        command = [
            sys.executable,
            "-m",
            "benchmarks.speed.overhead",
            "--size",
            size,
            "--steps",
            str(steps),
            "--one",
            arm,
        ]
        peaks[arm] = int(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
        )
        ratio = f"{peaks[arm] / peaks['bare']:.3f}"
        print(f"| {arm} | {ratio if arm != 'bare' else f'{peaks[arm] / 1024:.0f} MiB'} |")


def _peak(arm: str, size: Size, steps: int) -> int:
    """Return the peak memory of this process after some steps, in KiB; every arm imports the same."""
    import stabilitykit.live.loop
    import stabilitykit.live.monitor  # noqa: F401

    with contextlib.ExitStack() as stack, contextlib.redirect_stdout(io.StringIO()):
        step, _ = _enter(stack, arm, size)
        _run(step, batches(size, steps))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
