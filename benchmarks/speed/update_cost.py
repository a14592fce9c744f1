"""What reading an optimizer's step costs, in three ways: time, memory held, and error.

The sampled snapshot that is in use, full snapshots of the weights around the step, and Adam's own formula
from its state (no snapshot, Adam only). Each reads the update ratio of every block after the same real
training steps, in the midst of training, so caches are as cold as they are there. Times are the thread's
processor time, least and median over steps: what others do on a shared machine is not in it. Errors are
against the weights' change in float64.

    python -m benchmarks.speed.update_cost                    # 4 blocks, d 128, T 128, AdamW
    python -m benchmarks.speed.update_cost --optimizer sgd --vocab 16384
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.observe import Collector

Groups = dict[str, list[nn.Parameter]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw")
    parser.add_argument("--vocab", type=int, default=256)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = {"n_layers": 4, "d_model": 128, "seq_len": 128, "vocab_size": arguments.vocab}
    model = Transformer(TransformerConfig.model_validate(config))
    optimizers = OPTIMIZERS[arguments.optimizer](model)
    collector = Collector(model, optimizers)
    collector.attach()
    groups = {g: [model.get_parameter(n) for n in names] for g, names in collector.layout.groups.items()}
    times: dict[str, list[float]] = {"gradient norms": [], "sampled": [], "full": [], "state": [], "step": []}
    errors: dict[str, list[float]] = {}
    seconds = timed_hooks(optimizers)
    for step in range(arguments.steps):
        for parameter in model.parameters():
            parameter.grad = None
        collector.arm()
        start = time.thread_time()
        zipfian_loss(model, arguments.vocab, step).backward()
        middle = time.thread_time()
        collector.read_gradients()
        times["gradient norms"].append(time.thread_time() - middle)
        exact = [p.detach().double() for p in model.parameters()]
        taken, before = timed(lambda: torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
        seconds.clear()
        stepped = time.thread_time()
        for optimizer in optimizers:
            optimizer.step()
        bare = time.thread_time() - stepped - sum(seconds)
        times["step"].append(middle - start + bare)
        times["sampled"].append(sum(seconds))
        times["full"].append(taken + timed(partial(full_ratios, groups, before))[0])
        if arguments.optimizer == "adamw":
            times["state"].append(timed(partial(adam_ratios, groups, optimizers[0]))[0])
        readings = collector.collect(step).readings
        changes = dict(zip(model.parameters(), exact, strict=True))
        for group, members in groups.items():
            change = sum((p.detach().double() - changes[p]).square().sum().item() for p in members)
            weight = sum(p.detach().double().square().sum().item() for p in members)
            errors.setdefault(group, []).append(
                readings[f"optim/update_ratio/{group}"] / (change / weight) ** 0.5 - 1
            )
    report(arguments.optimizer, model, collector, times, errors)


def report(
    name: str,
    model: nn.Module,
    collector: Collector,
    times: dict[str, list[float]],
    errors: dict[str, list[float]],
) -> None:
    """Print times, memory and errors."""
    n = sum(p.numel() for p in model.parameters())
    tap = collector._optimizer_taps[0]
    held = {"sampled": tap._rows.nbytes + tap._before.nbytes + tap._scratch.nbytes, "full": 8 * n, "state": 0}
    least = {what: 1e3 * min(values[5:]) for what, values in times.items() if values}
    middle = {what: 1e3 * float(np.median(values[5:])) for what, values in times.items() if values}
    print(f"{name}, {n:,} parameters ({4 * n / 2**20:.1f} MiB); least and median over steps:")
    for what in least:
        memory = f", holds {held[what] / 2**20:.1f} MiB" if what in held else ""
        print(f"  {what}: {least[what]:.2f} and {middle[what]:.2f} ms{memory}")
    for group, values in errors.items():
        print(
            f"  error of {group}: {100 * np.sqrt(np.mean(np.square(values))):.1f} % rms, "
            f"{100 * np.max(np.abs(values)):.1f} % at most"
        )


def timed(call: Callable[[], object]) -> tuple[float, Tensor]:
    """Return how long a call took, and what it gave."""
    with torch.no_grad():
        start = time.thread_time()
        result = call()
    return time.thread_time() - start, result  # type: ignore[return-value]


def timed_hooks(optimizers: Sequence[torch.optim.Optimizer]) -> list[float]:
    """Make the optimizers' hooks, all of them a collector's, note how long they take; return where."""
    seconds: list[float] = []

    def around(hook: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: object) -> None:
            start = time.thread_time()
            hook(*arguments)
            seconds.append(time.thread_time() - start)

        return run

    for optimizer in optimizers:
        for hooks in (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks):
            for key, hook in hooks.items():
                hooks[key] = around(hook)
    return seconds


def zipfian_loss(model: nn.Module, vocab: int, seed: int) -> Tensor:
    """Return the loss on tokens distributed as 1/rank, so that most rows of a large table are untouched."""
    draws = torch.Generator().manual_seed(seed)
    tokens = torch.multinomial(1 / torch.arange(1.0, vocab + 1), 8 * 129, replacement=True, generator=draws)
    tokens = tokens.view(8, 129)
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def full_ratios(groups: Groups, before: Tensor) -> Tensor:
    """Return update ratios from a full snapshot before the step."""
    found, start = [], 0
    for members in groups.values():
        after = torch.cat([p.detach().reshape(-1) for p in members])
        change = after - before[start : start + after.numel()]
        start += after.numel()
        found.append(torch.linalg.vector_norm(change) / torch.linalg.vector_norm(after))
    return torch.stack(found)


def adam_ratios(groups: Groups, optimizer: torch.optim.Optimizer) -> Tensor:
    """Return update ratios from Adam's state, lr/(1 − β1ᵗ)·m/(√v̂ + ε), without its weight decay."""
    settings, found = optimizer.param_groups[0], []
    beta1, beta2 = settings["betas"]
    for members in groups.values():
        change, weight = [], []
        for p in members:
            state = optimizer.state[p]
            scale = (1 - beta2 ** state["step"]).sqrt()
            update = state["exp_avg"] / (state["exp_avg_sq"].sqrt().div_(scale).add_(settings["eps"]))
            change.append(torch.linalg.vector_norm(update) * settings["lr"] / (1 - beta1 ** state["step"]))
            weight.append(torch.linalg.vector_norm(p.detach()))
        found.append(torch.stack(change).norm() / torch.stack(weight).norm())
    return torch.stack(found)


def muon(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Return Muon on the blocks' matrices, AdamW on the rest."""
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and "blocks" in n]
    rest = [p for p in model.parameters() if not any(p is q for q in inner)]
    return [torch.optim.Muon(inner, lr=1e-2), torch.optim.AdamW(rest, lr=1e-3)]


OPTIMIZERS: dict[str, Callable[[nn.Module], list[torch.optim.Optimizer]]] = {
    "adamw": lambda model: [torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))],
    "sgd": lambda model: [torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)],
    "muon": muon,
}

if __name__ == "__main__":
    main()
