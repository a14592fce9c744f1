"""Live watching for any training loop: observe, diagnose, keep. No Lightning."""

import logging
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from stabilitykit.diagnosis import Diagnosis, loss_summary
from stabilitykit.errors import ConfigError, IncidentError, RunFolderError
from stabilitykit.observe import Collector, Coverage
from stabilitykit.observe.detail_tap import DetailTaps
from stabilitykit.records import Incident, IncidentChange, StepRecord, Verdict, number_to_json
from stabilitykit.store import RunWriter
from stabilitykit.store.tensorboard import TensorBoardWriter

log = logging.getLogger("stabilitykit")

Policy = Literal["log", "stop", "raise"] | Callable[[Incident], None]
"""What happens when a warning or critical incident opens."""


class Sink(Protocol):
    """Something that is told of every step, in order."""

    def record(self, record: StepRecord) -> None:
        """Take a step's readings."""

    def incident(self, change: IncidentChange) -> None:
        """Take what happened to an incident at the step just recorded."""

    def verdict(self, verdict: Verdict, document: Mapping[str, Any]) -> None:
        """Take the end of the run: its verdict, and the JSON document that is kept of it."""


class _RunFolder:
    """Keeps a run in its folder."""

    def __init__(self, writer: RunWriter) -> None:
        self._writer = writer
        self.record, self.incident = writer.record, writer.incident

    def verdict(self, verdict: Verdict, document: Mapping[str, Any]) -> None:
        """Write the verdict last."""
        self._writer.close()
        self._writer.verdict(document)


class _TensorBoard:
    """Shows a run in TensorBoard."""

    def __init__(self, writer: TensorBoardWriter) -> None:
        self._writer = writer
        self.record, self.incident = writer.record, writer.incident

    def verdict(self, verdict: Verdict, document: Mapping[str, Any]) -> None:
        """Write the last pictures and the verdict."""
        self._writer.close(f"**{verdict.outcome}**: {verdict.reason}")


class Monitor:
    """Watches one model in training and keeps what it sees.

    It changes no value, no gradient and no random state, and ends no training: an error inside it is
    logged once and the part that failed goes dark. Per observed step it reads from the device once.

    Args:
        model: The model to watch.
        optimizers: Its optimizers.
        folder: Where to keep the run; nothing is kept on disk without it.
        config: What is written to the run's ``config.yaml``.
        every_n_steps: Observe every n-th optimizer step.
        on_incident: ``"log"``, ``"stop"`` (sets ``should_stop``), ``"raise"``, or a function that is called
            with each warning or critical incident when it opens.
        sinks: Told of every step, beside the folder.
        resume: Go on in a folder that holds an earlier part of the same run.

    Raises:
        ConfigError: An argument is not accepted.
        RunFolderError: The folder cannot be written, or holds something else.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        folder: Path | None = None,
        config: Mapping[str, Any] | None = None,
        every_n_steps: int = 1,
        on_incident: Policy = "log",
        sinks: Sequence[Sink] = (),
        resume: bool = False,
    ) -> None:
        check_arguments(every_n_steps, on_incident)
        self.folder = folder
        self.should_stop = False
        self.disk_failed = False
        self.steps = 0
        """Optimizer steps finished."""
        self._every_n_steps = every_n_steps
        self._on_incident = on_incident
        self._diagnosis = Diagnosis()
        self._losses: list[float] = []
        self._latest: StepRecord | None = None
        kept = {**(config or {}), "environment": environment(), "detectors": self._diagnosis.settings}
        self._sinks = [*(_keepers(folder, kept, resume) if folder else []), *sinks]
        self._collector = Collector(model, optimizers)
        self._collector.attach()
        self._closed = self._failed = False

    def arm(self) -> None:
        """Begin a step, or a microbatch of one: observe what follows if the step is to be observed."""
        count, left = divmod(self.steps, self._every_n_steps)
        self._collector.arm(not self._failed and left == 0, detail=count % DetailTaps.EVERY == 0)

    def read_gradients(self, if_unread: bool = False, scaler: GradScaler | None = None) -> None:
        """Take the gradients as they are now; call it before clipping.

        Args:
            if_unread: Only where they have not been taken at this step.
            scaler: The loss scaler whose factor they still carry.
        """
        read = partial(self._collector.read_gradients, scaler)
        self._guard(self._collector.read_gradients_if_unread if if_unread else read)

    def add_scalars(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Take what training itself says of a microbatch, such as its loss."""
        if self.steps % self._every_n_steps == 0:
            self._collector.add_scalars(scalars)

    def finish_step(self) -> None:
        """End a step: read it, diagnose it, keep it, and act on what opened.

        Raises:
            IncidentError: An incident opened and ``on_incident`` is ``"raise"``.
        """
        step, self.steps = self.steps, self.steps + 1
        if self._failed or step % self._every_n_steps:
            return
        changes: list[IncidentChange] = []
        self._guard(lambda: changes.extend(self._observe(step)))
        for change in changes:
            if change.what == "opened":
                self._act(change.incident)

    def latest(self) -> StepRecord | None:
        """Return the newest step record, or None before the first."""
        return self._latest

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents so far."""
        return self._diagnosis.incidents

    def verdict(self, complete: bool = True) -> Verdict:
        """Return how the run stands."""
        return self._diagnosis.verdict(complete)

    def coverage(self) -> list[Coverage]:
        """Return what is watched and how: one row a site."""
        return self._collector.coverage()

    @property
    def host_reads(self) -> int:
        """How often anything was read from the device."""
        return self._collector.host_reads

    def summary(self, complete: bool = True) -> dict[str, Any]:
        """Return the run's JSON document: verdict, incidents, final and best loss."""
        losses = loss_summary(self._losses)
        document = self.verdict(complete).to_json()
        return document | {
            "final_loss": number_to_json(losses.final),
            "best_loss": number_to_json(losses.best),
        }

    def close(self, complete: bool = True) -> None:
        """Remove every hook and write the verdict; may be called twice."""
        self._collector.detach()
        if self._closed:
            return
        self._closed = True
        for change in self._diagnosis.untold():
            self._tell(partial(_incident, change))
        document, verdict = self.summary(complete), self.verdict(complete)
        self._tell(lambda sink: sink.verdict(verdict, document))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs for the run to go on as if unbroken."""
        return {
            "steps": self.steps,
            "diagnosis": self._diagnosis.state_dict(),
            "collector": self._collector.state_dict(),
            "folder": str(self.folder) if self.folder else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self.steps = state["steps"]
        self._diagnosis.load_state_dict(state["diagnosis"])
        self._collector.load_state_dict(state["collector"])

    def _observe(self, step: int) -> list[IncidentChange]:
        record = self._collector.collect(step)
        self._latest = record
        self._losses.append(record.readings.get("train/loss", math.nan))
        changes = self._diagnosis.update(record)
        self._tell(lambda sink: sink.record(record))
        for change in changes:
            self._tell(partial(_incident, change))
        return changes

    def _tell(self, say: Callable[[Sink], None]) -> None:
        """Say something to every sink; one whose disk fails is dropped, and said so once."""
        for sink in tuple(self._sinks):
            try:
                say(sink)
            except RunFolderError as error:
                self._sinks.remove(sink)
                if not self.disk_failed:
                    log.warning("%s; training goes on without it", error)
                self.disk_failed = True

    def _guard(self, part: Callable[[], None]) -> None:
        """Run a part of the monitor so that its errors do not reach training."""
        if self._failed:
            return
        try:
            part()
        except Exception as error:  # Nothing in a monitor may end a training run.
            self._failed = True
            self._collector.detach()
            log.warning("monitor is off from step %d on: %s: %s", self.steps, type(error).__name__, error)

    def _act(self, incident: Incident) -> None:
        if callable(self._on_incident):
            self._on_incident(incident)
            return
        text = f"{incident.severity} at step {incident.detected}: {incident.kind}: {incident.message}"
        if self._on_incident == "raise":
            raise IncidentError(text)
        log.warning("%s", text)
        self.should_stop = self.should_stop or self._on_incident == "stop"


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
    on_incident: Policy = "log",
    config: Mapping[str, Any] | None = None,
    scaler: GradScaler | None = None,
) -> Iterator[LoopMonitor]:
    """Watch a plain training loop.

    Gradients are read when a backward pass ends, so before any clipping.

    Args:
        model: The model to watch.
        optimizer: Its optimizer.
        logdir: Folder of the run, new or empty; nothing is kept on disk without it.
        every_n_steps: Observe every n-th optimizer step.
        on_incident: What happens when an incident opens.
        config: What is written to the run's ``config.yaml``.
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
        on_incident=on_incident,
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


def _incident(change: IncidentChange, sink: Sink) -> None:
    sink.incident(change)


def _after_backward(model: nn.Module, read: Callable[[], None]) -> RemovableHandle:
    """Call ``read`` at the end of every backward pass that reaches the model's first parameter."""

    def queue(parameter: Tensor) -> None:
        torch.autograd.Variable._execution_engine.queue_callback(read)

    first = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    handle: RemovableHandle = first.register_post_accumulate_grad_hook(queue)  # type: ignore[no-untyped-call]
    return handle


def environment() -> dict[str, Any]:
    """Return what bit-equality holds for: versions, CPU capability, threads and what changes kernels."""
    names = ("OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")
    return {
        "stabilitykit": version("stabilitykit"),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "variables": {name: os.environ[name] for name in names if name in os.environ},
    }


def check_arguments(every_n_steps: int, on_incident: Policy) -> None:
    """Refuse what a monitor does not take.

    Raises:
        ConfigError: Names the argument, the value and what is accepted.
    """
    if isinstance(every_n_steps, bool) or not isinstance(every_n_steps, int) or every_n_steps < 1:
        raise ConfigError(f"every_n_steps: got {every_n_steps!r}; must be a whole number from 1 on")
    if not callable(on_incident) and on_incident not in ("log", "stop", "raise"):
        raise ConfigError(f"on_incident: got {on_incident!r}; accepted: 'log', 'stop', 'raise' or a function")


def _keepers(folder: Path, config: Mapping[str, Any], resume: bool) -> list[Sink]:
    return [
        _RunFolder(RunWriter(folder, config, resume=resume)),
        _TensorBoard(TensorBoardWriter(folder)),
    ]
