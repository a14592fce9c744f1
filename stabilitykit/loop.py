"""Watch a plain training loop."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from stabilitykit.monitor import Monitor
from stabilitykit.observe import SiteRules
from stabilitykit.reactions import Policy
from stabilitykit.records import Incident
from stabilitykit.store import FOLDER_MB


class LoopMonitor:
    """The monitor of a plain training loop: call ``step`` after each optimizer step."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self.latest, self.coverage, self.verdict = monitor.latest, monitor.coverage, monitor.verdict

    def step(self, loss: Tensor | float, **readings: Tensor | float) -> None:
        """End a step and begin the next.

        Args:
            loss: The step's loss.
            **readings: Anything else to record, such as ``unigram_cross_entropy``.
        """
        self._monitor.add_scalars({"loss": loss, **readings})
        self._monitor.finish_step()
        self._monitor.arm()

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents so far."""
        return self._monitor.incidents

    @property
    def should_stop(self) -> bool:
        """Whether ``on_incident="stop"`` asks the loop to end."""
        return self._monitor.should_stop

    @property
    def host_reads(self) -> int:
        """How often anything was read from the device."""
        return self._monitor.host_reads


@contextmanager
def watch(
    model: nn.Module,
    optimizer: Optimizer,
    logdir: str | Path | None = None,
    *,
    every_n_steps: int = 1,
    budget: float | None = None,
    on_incident: Policy = "log",
    sites: SiteRules | str | Path | Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    folder_mb: float = FOLDER_MB,
    scaler: GradScaler | None = None,
) -> Iterator[LoopMonitor]:
    """Watch a plain training loop.

    Gradients are read when a backward pass ends, so before any clipping.

    Where several processes train one model, with ``DistributedDataParallel`` or ``fully_shard``, every one
    must watch it, after the process group was made and the model wrapped. All get the same readings, of the
    whole batch; scalars are means over the processes. The first one keeps the run.

    Args:
        model: The model to watch.
        optimizer: Its optimizer.
        logdir: Folder of the run, new or empty; nothing is kept on disk without it.
        every_n_steps: Observe every n-th optimizer step.
        budget: Share of the time that observing may take, such as 0.02; None for no limit.
        on_incident: What happens when an incident opens: ``"log"``, ``"stop"`` (sets ``should_stop``),
            ``"raise"``, a function, a ``Command``, a ``WebAddress``, or a list of these.
        sites: Sites to add, rename and leave out: rules, or the path of a YAML file of them.
        config: What is written to the run's ``config.yaml``.
        folder_mb: What the folder may take, in megabytes, from 1 on: the oldest steps are thinned to stay
            within it; infinity keeps every step.
        scaler: The loop's loss scaler: gradients still carry its factor when they are read.

    Yields:
        The monitor; call its ``step`` after each optimizer step.

    Raises:
        ConfigError: An argument is not accepted.
        RunFolderError: The folder cannot be written, or holds something else.
    """
    monitor = Monitor(
        model,
        [optimizer],
        folder=Path(logdir) if logdir else None,
        config=config,
        every_n_steps=every_n_steps,
        budget=budget,
        on_incident=on_incident,
        sites=sites,
        folder_mb=folder_mb,
    )
    hooks = [
        _after_backward(model, partial(monitor.read_gradients, scaler=scaler)),
        # Where that parameter got no gradient, clipped norms are better than none.
        optimizer.register_step_pre_hook(lambda *_: monitor.read_gradients(if_unread=True)),
    ]
    complete = False
    try:
        monitor.arm()
        yield LoopMonitor(monitor)
        complete = True
    finally:
        for hook in hooks:
            hook.remove()
        monitor.close(complete)


def _after_backward(model: nn.Module, read: Callable[[], None]) -> RemovableHandle:
    """Call ``read`` at the end of every backward pass that reaches the model's first parameter."""
    queue = torch.autograd.Variable._execution_engine.queue_callback

    def at_the_end(parameter: Tensor) -> None:
        # DistributedDataParallel averages gradients in a callback that it queues at the last one of them,
        # which may be later than this; what a callback queues comes after all.
        queue(lambda: queue(read))

    first = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    handle: RemovableHandle = first.register_post_accumulate_grad_hook(at_the_end)  # type: ignore[no-untyped-call]
    return handle
