"""Price any model: count one step, then measure it."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from torch import nn
from torch.optim import Optimizer

from stabilitykit.lab.cost.counted.count import count, foreign_namer
from stabilitykit.lab.cost.measured.rounds import Step, run_rounds
from stabilitykit.lab.cost.pricing import OnProgress, Priced, measured_as
from stabilitykit.lab.cost.task import Loss, Task, TaskMode


def profile(
    module: nn.Module,
    batch: Any,
    *,
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    mode: TaskMode = "train",
    seconds: float = 5.0,
) -> Priced:
    """Return what a model costs on a batch: FLOPs, bytes and time of every operation.

    FLOPs and bytes are counted, operator by operator, in one step; then steps are timed, as they are and
    under torch's profiler. An operation is a module without children, or a function of torch that a module
    with children calls; what layers have in common adds up.

    The model stays as it was: its weights, buffers, gradients, hooks and training flag, and the states of
    random numbers. With an optimizer it is trained, by thirteen steps at least on the same batch: weights and
    buffers change.

    Args:
        module: Any model. It runs as it is, in training or in evaluation.
        batch: A tensor, a tuple or list of arguments, or a mapping of named ones.
        loss: Gives the loss for what the model returns; by default its ``loss`` where it has one, else the
            mean of its first tensor of floats.
        optimizer: What steps; by default nothing does.
        mode: ``train`` for forward and backward, ``forward`` for forward alone, without gradients.
        seconds: About how long to measure; there are five rounds at least.

    Raises:
        ConfigError: The mode is not known or has no use for what was given, or there is no loss.
    """
    task = Task(module, batch, loss, optimizer, mode)
    return profiled([(type(module).__name__, task)], seconds)[0]


def profiled(
    tasks: Sequence[tuple[str, Task]], seconds: float, on_progress: OnProgress | None = None
) -> list[Priced]:
    """Return what several steps cost, measured in turns.

    Args:
        tasks: Each with what it is called; of different models.
        seconds: About how long each of them is measured.
        on_progress: Called while measuring with the share that is done.
    """
    with ExitStack() as left:
        for _, task in tasks:
            left.enter_context(task.as_found())
        counts = [count(task) for _, task in tasks]
        steps = [Step(task.whole, task.run, foreign_namer(task)) for _, task in tasks]
        times = run_rounds(steps, seconds * len(steps), on_progress)
    return [
        Priced(label, one, measured_as(one, found))
        for (label, _), one, found in zip(tasks, counts, times, strict=True)
    ]
