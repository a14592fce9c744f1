"""Live watching for any training loop: observe, diagnose, keep. No Lightning."""

import contextlib
import logging
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from stabilitykit.cadence import cadence
from stabilitykit.detect import Detector, all_detectors
from stabilitykit.diagnosis import Diagnosis, loss_summary
from stabilitykit.errors import RunFolderError
from stabilitykit.observe import Collector, Coverage, SiteRules, Statistic
from stabilitykit.observe.coverage import missing, silences, summary
from stabilitykit.observe.detail_tap import DetailTaps
from stabilitykit.observe.statistic import all_statistics
from stabilitykit.reactions import Policy, react, reactions
from stabilitykit.records import Incident, IncidentChange, StepRecord, Verdict, number_to_json
from stabilitykit.store import FOLDER_MB, RunWriter, check_folder_mb, write_coverage
from stabilitykit.store.tensorboard import TensorBoardWriter

log = logging.getLogger("stabilitykit")

_CADENCE = "monitor/every_n_steps"


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
        self.record, self.incident, self.flush = writer.record, writer.incident, writer.flush

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

    Where several processes train one model, each needs a monitor. All of them then see the same readings, of
    the whole batch, and decide alike; the first one keeps the run, logs, and runs commands.

    Args:
        model: The model to watch.
        optimizers: Its optimizers: anything with ``step`` and ``param_groups``, several of such, or None.
        folder: Where to keep the run; nothing is kept on disk without it.
        config: What is written to the run's ``config.yaml``.
        every_n_steps: Observe every n-th optimizer step.
        budget: Share of the time that observing may take, such as 0.02; the cadence then follows what is
            measured, on the first process, and is recorded. None for no limit.
        on_incident: What happens when a warning or critical incident opens: ``"log"``, ``"stop"`` (sets
            ``should_stop``), ``"raise"``, a function, a ``Command``, a ``WebAddress``, or a list of these.
        sites: Sites to add, rename and leave out: rules, or the path of a YAML file of them.
        statistics: Statistics of the user's own, beside the built-in ones.
        detectors: Detectors of the user's own, beside the built-in ones.
        scaler: What scales the loss, if something does.
        sinks: Told of every step, beside the folder; the first process's alone.
        resume: Go on in a folder that holds an earlier part of the same run.
        folder_mb: What the folder may take, in megabytes, from 1 on: the oldest steps are thinned to stay
            within it; infinity keeps every step.

    Raises:
        ConfigError: An argument is not accepted, or other processes that train the model have no monitor.
        RunFolderError: The folder cannot be written, or holds something else.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Any,
        *,
        folder: Path | None = None,
        config: Mapping[str, Any] | None = None,
        every_n_steps: int = 1,
        budget: float | None = None,
        on_incident: Policy = "log",
        sites: SiteRules | str | Path | Mapping[str, Any] | None = None,
        statistics: Sequence[Statistic] = (),
        detectors: Sequence[Detector] = (),
        scaler: torch.amp.GradScaler | None = None,
        sinks: Sequence[Sink] = (),
        resume: bool = False,
        folder_mb: float = FOLDER_MB,
    ) -> None:
        self._cadence = cadence(every_n_steps, budget)
        self._is_adaptive = budget is not None
        check_folder_mb(folder_mb)
        self.folder = folder
        self.should_stop = False
        self.disk_failed = False
        self.steps = 0
        """Optimizer steps finished."""
        self.why_no_loss = "none was given"
        """What ``coverage()`` says of it where no observed step has had a loss."""
        self._has_loss = False
        self._reactions = reactions(on_incident)
        self._scaler = scaler
        self._collector = Collector(model, optimizers, SiteRules.of(sites), all_statistics(statistics))
        self._diagnosis = Diagnosis(all_detectors(detectors))
        self._losses: list[float] = []
        self._observed = 0
        self._latest: StepRecord | None = None
        kept = {**(config or {}), "environment": environment(), "detectors": self._diagnosis.settings}
        self._is_first = self._collector.rank == 0
        self._sinks = list(sinks) if self._is_first else []
        if folder and self._is_first:
            try:
                self._sinks = [*self._keepers(folder, kept, resume, folder_mb), *self._sinks]
            except Exception:
                self._collector.refuse()
                raise
        self._collector.attach()
        self._closed = self._failed = self._is_covered = False
        self._told_dark: set[str] = set()
        self._told_missed: set[str] = set()

    @property
    def model(self) -> nn.Module:
        """What is watched."""
        return self._collector.model

    @property
    def is_observed(self) -> bool:
        """Whether the step at hand is observed."""
        return not self._failed and self._cadence.is_due(self.steps)

    @property
    def is_covered(self) -> bool:
        """Whether it is known what there is to watch, and told; on the first process."""
        return self._is_covered

    def arm(self) -> None:
        """Begin a step, or a microbatch of one: observe what follows if the step is to be observed."""
        detail = self._observed % DetailTaps.EVERY == 0
        self._guard(lambda: self._collector.arm(self.is_observed, detail))

    def disarm(self) -> None:
        """End a microbatch: what runs from here on, such as validation, is no part of a step."""
        self._guard(lambda: self._collector.arm(False))

    def read_gradients(self, scaled: bool = False, gone: Sequence[Tensor] = ()) -> None:
        """Take the gradients as they are now; call it before clipping.

        Args:
            scaled: Whether they are still multiplied by the scaler's scale, if there is a scaler.
            gone: Parameters that have had a gradient at this step, and have none any more.
        """
        self._guard(lambda: self._read_gradients(scaled, gone))

    def find_scaler(self, scaler: torch.amp.GradScaler) -> None:
        """Take what is found to scale the loss, where nobody has said so."""
        self._guard(lambda: self._find_scaler(scaler))

    def when_changed(self, call: Callable[[], None]) -> None:
        """Call something whenever modules or parameters of the model are found to be others than before."""
        self._collector.when_changed(call)

    def before_step(self, optimizer: Any) -> None:
        """Note that an optimizer steps with the gradients as they were read last."""
        self._guard(lambda: self._collector.before_step(optimizer))

    def add_scalars(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Take what training itself says of a microbatch, such as its loss."""
        if self.is_observed:
            self._guard(lambda: self._collector.add_scalars(scalars))

    def finish_step(self) -> None:
        """End a step: read it, diagnose it, keep it, and act on what opened.

        Raises:
            IncidentError: An incident opened and ``on_incident`` is ``"raise"``.
        """
        is_observed = self.is_observed
        step, self.steps = self.steps, self.steps + 1
        changes: list[IncidentChange] = []
        if is_observed:
            if self._is_adaptive:
                self._collector.add_scalars({_CADENCE: self._cadence.every_n_steps})
            self._guard(lambda: changes.extend(self._observe(step)))
            if self._failed:
                self._leave()
        else:
            self._guard(self._collector.pass_by)
        self._cadence.finish(step)
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
        rows = self._collector.coverage()
        if self._losses and not self._has_loss:
            rows.append(missing(f"no loss is recorded: {self.why_no_loss}"))
        return rows

    @property
    def has_stepped(self) -> bool:
        """Whether an optimizer has really stepped since the last step ended."""
        return self._collector.has_stepped

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
        self._keep_coverage()
        for change in self._diagnosis.untold():
            self._tell(partial(_incident, change))
        document, verdict = self.summary(complete), self.verdict(complete)
        self._tell(lambda sink: sink.verdict(verdict, document))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs for the run to go on as if unbroken; what it rests on is on disk."""
        self._tell(_flush)
        return {
            "steps": self.steps,
            "observed": self._observed,
            "diagnosis": self._diagnosis.state_dict(),
            "collector": self._collector.state_dict(),
            "folder": str(self.folder) if self.folder else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self.steps, self._observed = state["steps"], state["observed"]
        self._diagnosis.load_state_dict(state["diagnosis"])
        self._collector.load_state_dict(state["collector"])

    def _keepers(self, folder: Path, config: Mapping[str, Any], resume: bool, folder_mb: float) -> list[Sink]:
        # A step is diagnosed before it is kept, so that the state is the one after it.
        state = self._diagnosis.snapshot
        writer = RunWriter(folder, config, resume=resume, state=state, folder_mb=folder_mb)
        return [_RunFolder(writer), _TensorBoard(TensorBoardWriter(folder, folder_mb=folder_mb))]

    def _find_scaler(self, scaler: torch.amp.GradScaler) -> None:
        if self._scaler is None:
            self._scaler = scaler
            scale = self._scale()
            if scale is not None:
                self._collector.divide_gradients(scale)

    def _read_gradients(self, scaled: bool, gone: Sequence[Tensor]) -> None:
        scale = self._scale() if self.is_observed else None
        if scale is not None:
            self._collector.add_scalars({"optim/loss_scale": scale})
        self._collector.read_gradients(scale if scaled else None, gone)

    def _scale(self) -> Tensor | None:
        """Return the scale of the loss, on its device: what a scaler makes of one."""
        if self._scaler is None or not self._scaler.is_enabled():
            return None
        scale: Tensor = self._scaler.scale(torch.ones((), device=self._collector.device))
        return scale

    def _observe(self, step: int) -> list[IncidentChange]:
        record = self._collector.collect(step)
        self._observed += 1
        self._latest = record
        if self._is_adaptive:
            # Clocks differ; the record is the same on all ranks.
            self._cadence.follow(int(record.readings[_CADENCE]))
        self._has_loss = self._has_loss or "train/loss" in record.tags
        self._losses.append(record.readings.get("train/loss", math.nan))
        known = set(self._diagnosis.failed)
        changes = self._diagnosis.update(record)
        for kind in self._diagnosis.failed.keys() - known:
            log.warning("the detector %s is off: %s", kind, self._diagnosis.failed[kind])
        self._tell(lambda sink: sink.record(record))
        if not self._is_covered:
            self._tell_coverage_once_known()
        self._tell_dark()
        for change in changes:
            self._tell(partial(_incident, change))
        return changes

    def _tell_coverage_once_known(self) -> None:
        """Keep the coverage report, and say what is not seen, once some site was seen or there is none."""
        if not self._is_first:
            return
        rows = self.coverage()
        waits = any(row.is_silent for row in rows) and not any(row.fired for row in rows)
        if waits or not rows:
            return
        self._is_covered = True
        log.info("%s", summary(rows))
        for line in silences(rows):
            log.warning("%s", line)
        self._keep_coverage()

    def _tell_dark(self) -> None:
        """Say once which sites went dark, and why."""
        for site, why in self._collector.dark.items():
            if site not in self._told_dark:
                self._told_dark.add(site)
                log.warning("%s: no longer watched: %s", site, why)
        missed = {s: why for s, why in self._collector.missed.items() if s not in self._told_missed}
        self._told_missed.update(missed)
        for why in dict.fromkeys(missed.values()):
            sites = [site for site in missed if missed[site] == why]
            log.warning(
                "step %d: not read: %s%s: %s",
                self.steps - 1,
                ", ".join(sites[:3]),
                ", …" if sites[3:] else "",
                why,
            )

    def _keep_coverage(self) -> None:
        if self.folder and self._is_first and not self.disk_failed:
            try:
                write_coverage(self.folder, [asdict(row) for row in self.coverage()])
            except RunFolderError as error:
                log.warning("%s; training goes on without it", error)

    def _tell(self, say: Callable[[Sink], None]) -> None:
        """Say something to every sink; one whose disk fails is dropped, and said so once."""
        for sink in tuple(self._sinks):
            try:
                say(sink)
            except RunFolderError as error:
                self._sinks.remove(sink)
                log.warning("%s; training goes on without it", error)
                self.disk_failed = True
            except Exception as error:  # A sink of the user's own may raise anything.
                self._sinks.remove(sink)
                log.warning("%s is off: %s: %s", type(sink).__name__, type(error).__name__, error)

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

    def _leave(self) -> None:
        """Let other ranks know; where that fails, they have ended or will find out for themselves."""
        with contextlib.suppress(Exception):
            self._collector.leave()

    def _act(self, incident: Incident) -> None:
        self.should_stop = react(self._reactions, incident, self._is_first) or self.should_stop


def _flush(sink: Sink) -> None:
    if isinstance(sink, _RunFolder):
        sink.flush()


def _incident(change: IncidentChange, sink: Sink) -> None:
    sink.incident(change)


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
