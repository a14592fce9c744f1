"""Watch a plain training loop."""

import contextlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from stabilitykit.errors import ConfigError
from stabilitykit.guard import Guard
from stabilitykit.live.monitor import Monitor
from stabilitykit.live.options import WatchKeywords
from stabilitykit.observe import Coverage
from stabilitykit.observe.backward import AfterBackward
from stabilitykit.observe.steppers import Listener, Removable, Stepper, optimizers_of
from stabilitykit.records import Incident, StepRecord, Verdict

_CALLERS = 12
"""How far up the stack a loss scaler is looked for."""


class LoopMonitor:
    """The monitor of a plain training loop: call ``step`` after each optimizer step."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._scalars, self._finish, self._arm = (
            Guard("what training says"),
            Guard("the step"),
            Guard("arming"),
        )
        self._asked = Guard("what the monitor was asked", limit=None)

    def step(self, loss: Tensor | float, **readings: Tensor | float) -> None:
        """End a step and begin the next.

        Args:
            loss: The step's loss; what is no number is missing at this step.
            **readings: Anything else to record, such as ``unigram_cross_entropy``.

        Raises:
            IncidentError: An incident opened and ``on_incident`` is ``"raise"``.
        """
        self._scalars(lambda: self._monitor.add_scalars({"loss": loss, **readings}), None)
        self._finish(lambda: self._monitor.finish_step(), None)
        self._arm(lambda: self._monitor.arm(), None)

    def latest(self) -> StepRecord | None:
        """Return the newest step record, or None before the first."""
        return self._asked(lambda: self._monitor.latest(), None)

    def coverage(self) -> list[Coverage]:
        """Return what is watched and how: one row a site; none where that cannot be told."""
        return self._asked(lambda: self._monitor.coverage(), [])

    def verdict(self, complete: bool = True) -> Verdict:
        """Return how the run stands; ``unknown`` where that cannot be told."""
        none = Verdict("unknown", "the monitor cannot tell; its log says why", complete, 0)
        return self._asked(lambda: self._monitor.verdict(complete), none)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents so far."""
        return self._asked(lambda: self._monitor.incidents, ())

    @property
    def should_stop(self) -> bool:
        """Whether ``on_incident="stop"`` asks the loop to end."""
        return self._monitor.should_stop

    @property
    def host_reads(self) -> int:
        """How often anything was read from the device."""
        return self._asked(lambda: self._monitor.host_reads, 0)


@contextmanager
def watch(
    model: nn.Module,
    optimizer: Any,
    logdir: str | Path | None = None,
    *,
    scaler: torch.amp.GradScaler | None = None,
    **options: Unpack[WatchKeywords],
) -> Iterator[LoopMonitor]:
    """Watch a plain training loop.

    Gradients are read when a backward pass ends, so before any clipping. With several optimizers a step is
    what lies between two calls of the monitor's ``step``; of each optimizer the gradients are those with
    which it stepped.

    Where several processes train one model, with ``DistributedDataParallel`` or ``fully_shard``, every one
    must watch it, after the process group was made and the model wrapped. All get the same readings, of the
    whole batch; scalars are means over the processes. The first one keeps the run.

    Args:
        model: The model to watch.
        optimizer: Its optimizer, several, or several by name; ``optim/lr`` is the first's. Anything with
            ``step`` and ``param_groups`` is accepted, wrappers of other libraries too. With None, gradients
            are read, and what weights move from a backward pass to the end of a step.
        logdir: Folder of the run, new or empty; nothing is kept on disk without it.
        scaler: The loss scaler, where there is one: readings of gradients are divided by its scale, and a
            step that it skips is recorded with ``optim/skipped`` 1. One that is not named is found when it
            first calls the optimizer.
        **options: How it is watched: the fields of ``WatchOptions``.

    Yields:
        The monitor; call its ``step`` after each optimizer step.

    Raises:
        ConfigError: An argument is not accepted.
        FolderTakenError: The folder holds something else. One that cannot be written ends nothing: that is
            said, and the run is watched without it.
    """
    none: list[Any] = []
    optimizers = Guard("the optimizers", passes=(ConfigError,))(lambda: optimizers_of(optimizer), none)
    monitor = Monitor(
        model,
        optimizers,
        folder=Path(logdir) if logdir else None,
        scaler=scaler,
        **options,
    )
    guard = Guard("watching", limit=None)
    hooks = guard(lambda: list(hook_gradients(monitor, optimizers)), none)
    complete = False
    try:
        guard(lambda: monitor.arm(), None)
        yield LoopMonitor(monitor)
        complete = True
    finally:
        for hook in hooks:
            guard(hook.remove, None)
        guard(lambda: monitor.close(complete), None)


def hook_gradients(monitor: Monitor, optimizers: Any) -> list[Removable]:
    """Let a monitor read gradients where nobody tells it when: as each backward pass ends.

    Args:
        monitor: The monitor.
        optimizers: The optimizers whose parameters get the gradients.
    """
    steppers = [Stepper(each) for each in optimizers_of(optimizers)]

    def parameters() -> list[list[nn.Parameter]]:
        held = [stepper.parameters for stepper in steppers]
        taken = {id(p) for each in held for p in each}
        return [*held, [p for p in monitor.model.parameters() if id(p) not in taken]]

    backward = AfterBackward(parameters, lambda gone: monitor.read_gradients(scaled=True, gone=gone))
    monitor.when_changed(backward.attach)
    handles: list[Removable] = [backward]
    for stepper in steppers:
        search = _ScalerSearch(monitor)
        # Where its steps cannot be seen, the gradients are those read last.
        with contextlib.suppress(Exception):
            use = partial(monitor.before_step, stepper.optimizer)
            handles += stepper.attach(Listener(began=search, use=use))
    return handles


class _ScalerSearch:
    """Looks for a loss scaler among those that call an optimizer's first steps: nobody may have named it.

    Args:
        monitor: What is told of it.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._left = 3

    def __call__(self) -> None:
        """Look up the stack."""
        if not self._left:
            return
        self._left -= 1
        frame = inspect.currentframe()
        for _ in range(_CALLERS):
            frame = frame.f_back if frame else None
            found = frame.f_locals.get("self") if frame and "self" in frame.f_code.co_varnames else None
            if isinstance(found, torch.amp.GradScaler):
                self._left = 0
                self._monitor.find_scaler(found)
                return
