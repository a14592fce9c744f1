"""Live watching for any training loop: observe, diagnose, keep. No Lightning."""

import contextlib
import logging
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack

import torch
from torch import Tensor, nn

from stabilitykit.detect import all_detectors
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.detect.loss_means import LossMeans, LossSummary
from stabilitykit.detect.state import StateParts
from stabilitykit.errors import ConfigError, FolderTakenError, RunFolderError
from stabilitykit.guard import PATIENCE, Guard, described, say
from stabilitykit.live.cadence import cadence
from stabilitykit.live.kept_run import KeptRun, RunFolder, environment, in_words, new_run_id
from stabilitykit.live.listener import Listener
from stabilitykit.live.options import WatchKeywords, WatchOptions
from stabilitykit.live.reactions import react, reactions
from stabilitykit.observe import Collector, Coverage, SiteRules
from stabilitykit.observe.coverage import missing, silences, summary
from stabilitykit.observe.detail_tap import DetailTaps
from stabilitykit.observe.statistic import all_statistics
from stabilitykit.records import Incident, IncidentChange, StepRecord, Verdict, number_to_json
from stabilitykit.store import write_coverage

log = logging.getLogger("stabilitykit")

_CADENCE = "monitor/every_n_steps"
_VERSION = 1
"""Of the state in a checkpoint."""
_SAID = 3
"""Parts of a state that a line names, at most."""

T = TypeVar("T")


class Monitor:
    """Watches one model in training and keeps what it sees.

    It changes no value, no gradient and no random state, and ends no training: an error inside it is
    logged once, and a part that fails again and again goes dark. Per observed step it reads from the device
    once.

    Where several processes train one model, each needs a monitor. All of them then see the same readings, of
    the whole batch, and decide alike; the first one keeps the run, logs, and runs commands.

    Args:
        model: The model to watch.
        optimizers: Its optimizers: anything with ``step`` and ``param_groups``, several of such, or None.
        folder: Where to keep the run; nothing is kept on disk without it.
        scaler: What scales the loss, if something does.
        resume: Go on in a folder that holds an earlier part of the same run.
        beside: Where the folder holds something else, keep the run in a numbered one beside it.
        **options: How the run is watched: the fields of ``WatchOptions``.

    Raises:
        ConfigError: An argument is not accepted, or other processes that train the model have no monitor.
        FolderTakenError: The folder holds something else. One that cannot be written ends nothing: the run is
            watched without it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Any,
        *,
        folder: Path | None = None,
        scaler: torch.amp.GradScaler | None = None,
        resume: bool = False,
        beside: bool = False,
        **options: Unpack[WatchKeywords],
    ) -> None:
        self.should_stop = False
        self.steps = 0
        """Optimizer steps finished."""
        self.why_no_loss = "none was given"
        """What ``coverage()`` says of it where no observed step has had a loss."""
        self._has_loss = False
        how = WatchOptions(**options)
        self._is_adaptive = how.budget is not None
        self._scaler = scaler
        self._kept = KeptRun(folder, resume=resume, beside=beside, folder_mb=how.folder_mb)
        self._sinks: list[tuple[Listener, Guard]] = []
        self._losses = LossMeans()
        self._observed = 0
        self._latest: StepRecord | None = None
        self._parts: dict[str, Guard] = {}
        self._patience = 1
        self._is_off = self._is_attached = self._is_closed = self._is_covered = False
        self._owes_leave = False
        self._is_first = self._is_due = True
        self._told_dark: set[str] = set()
        self._told_missed: set[str] = set()

        def build() -> None:
            self._kept.run_id = new_run_id()
            checked = how.checked()
            self._cadence = cadence(how.every_n_steps, how.budget)
            self._reactions = reactions(how.on_incident)
            self._diagnosis = Diagnosis(all_detectors(how.detectors))
            statistics = all_statistics(how.statistics)
            self._collector = Collector(model, optimizers, SiteRules.of(checked.sites), statistics)
            self._patience = PATIENCE if self._collector.is_alone else 1
            self._is_first = self._collector.rank == 0
            if self._is_first:
                self._sinks = [(sink, self._of_sink(sink)) for sink in how.sinks]
            try:
                if self._is_first:
                    about = {"environment": environment(), "detectors": self._diagnosis.settings}
                    # A step is diagnosed before it is kept, so that the state is the one after it.
                    opened = self._kept.open(
                        {**(how.config or {}), **in_words(about)}, self._diagnosis.snapshot
                    )
                    self._sinks = [*((sink, self._of_sink(sink)) for sink in opened), *self._sinks]
            except Exception as error:
                self._collector.refuse(is_off=not isinstance(error, ConfigError | FolderTakenError))
                raise
            self._collector.attach()
            self._is_attached = True

        refused = (ConfigError, FolderTakenError)
        Guard("monitor", limit=1, passes=refused, on_off=self._go_off)(build, None)
        self._look_ahead()

    @property
    def model(self) -> nn.Module:
        """What is watched."""
        return self._collector.model

    @property
    def folder(self) -> Path | None:
        """Where the run is kept, if it is."""
        return self._kept.folder

    @property
    def disk_failed(self) -> bool:
        """Whether the run could not be kept to its end."""
        return self._kept.has_failed

    @property
    def is_observed(self) -> bool:
        """Whether the step at hand is observed."""
        return not self._is_off and self._is_due

    @property
    def is_covered(self) -> bool:
        """Whether it is known what there is to watch, and told; on the first process."""
        return self._is_covered

    def arm(self) -> None:
        """Begin a step, or a microbatch of one: observe what follows if the step is to be observed."""
        detail = self._observed % DetailTaps.EVERY == 0
        self._run("the step's beginning", lambda: self._collector.arm(self.is_observed, detail))

    def disarm(self) -> None:
        """End a microbatch: what runs from here on, such as validation, is no part of a step."""
        self._run("the step's end", lambda: self._collector.arm(False))

    def read_gradients(self, scaled: bool = False, gone: Sequence[Tensor] = ()) -> None:
        """Take the gradients as they are now; call it before clipping.

        Args:
            scaled: Whether they are still multiplied by the scaler's scale, if there is a scaler.
            gone: Parameters that have had a gradient at this step, and have none any more.
        """
        self._run("the gradients", lambda: self._read_gradients(scaled, gone))

    def find_scaler(self, scaler: torch.amp.GradScaler) -> None:
        """Take what is found to scale the loss, where nobody has said so."""
        self._run("the loss scaler", lambda: self._find_scaler(scaler))

    def when_changed(self, call: Callable[[], None]) -> None:
        """Call something whenever modules or parameters of the model are found to be others than before."""
        self._run("changes of the model", lambda: self._collector.when_changed(call))

    def before_step(self, optimizer: Any) -> None:
        """Note that an optimizer steps with the gradients as they were read last."""
        self._run("the optimizer", lambda: self._collector.before_step(optimizer))

    def add_scalars(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Take what training itself says of a microbatch, such as its loss.

        What is no number is missing at this step, and said once.
        """
        if self.is_observed:
            self._run("what training says", lambda: self._collector.add_scalars(scalars))

    def finish_step(self) -> None:
        """End a step: read it, diagnose it, keep it, and act on what opened.

        Raises:
            IncidentError: An incident opened and ``on_incident`` is ``"raise"``.
        """
        is_due = self._is_due
        step, self.steps = self.steps, self.steps + 1
        changes: list[IncidentChange] = []
        if is_due:
            record = self._run("the step", lambda: self._read(step))
            # The other ranks wait for this one's numbers, wherever it failed.
            if self._owes_leave and record is None:
                self._leave()
            if record is not None:
                changes = self._run("the diagnosis", lambda: self._observe(record), limit=1) or []
        else:
            self._run("the step", lambda: self._collector.pass_by())
        self._run("the cadence", lambda: self._cadence.finish(step))
        self._look_ahead()
        for change in changes:
            if change.what == "opened":
                self._act(change.incident)

    def latest(self) -> StepRecord | None:
        """Return the newest step record, or None before the first."""
        return self._latest

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents so far; none where they cannot be told."""
        return self._answer("the incidents", lambda: self._diagnosis.incidents, ())

    def verdict(self, complete: bool = True) -> Verdict:
        """Return how the run stands; ``unknown`` where that cannot be told.

        A run that was watched in part only is not complete.
        """
        complete = complete and not self._is_off
        none = Verdict("unknown", "the monitor cannot tell; its log says why", complete, self._observed)
        return self._answer("the verdict", lambda: self._diagnosis.verdict(complete), none)

    def coverage(self) -> list[Coverage]:
        """Return what is watched and how: one row a site; none where that cannot be told."""
        none: list[Coverage] = []
        rows = self._answer("the coverage", lambda: self._collector.coverage(), none)
        if self._latest and not self._has_loss:
            rows.append(missing(f"no loss is recorded: {self.why_no_loss}"))
        return rows

    @property
    def has_stepped(self) -> bool:
        """Whether an optimizer has really stepped since the last step ended."""
        return self._answer("whether an optimizer has stepped", lambda: self._collector.has_stepped, False)

    @property
    def host_reads(self) -> int:
        """How often anything was read from the device."""
        return self._answer("the number of reads", lambda: self._collector.host_reads, 0)

    def summary(self, complete: bool = True) -> dict[str, Any]:
        """Return the run's JSON document: verdict, incidents, final and best loss."""
        none = LossSummary(math.nan, math.nan)
        losses = self._answer("the losses", lambda: self._losses.summary(), none)
        verdict = self.verdict(complete)
        bare = {"verdict": "unknown", "reason": "the verdict cannot be written", "complete": complete}
        document = self._answer(
            "the verdict's document", verdict.to_json, {**bare, "steps": 0, "incidents": []}
        )
        return document | {
            "final_loss": number_to_json(losses.final),
            "best_loss": number_to_json(losses.best),
        }

    def close(self, complete: bool = True) -> None:
        """Remove every hook and write the verdict; may be called twice."""
        self._answer("the end of watching", lambda: self._collector.detach(), None)
        if self._is_closed:
            return
        self._is_closed = True
        self._keep_coverage()
        untold: list[IncidentChange] = []
        for change in self._answer("the newest of the incidents", lambda: self._diagnosis.untold(), untold):
            self._tell(partial(_incident, change))
        verdict = self.verdict(complete)
        document = self._answer("the summary", lambda: self.summary(complete), verdict.to_json())
        self._tell(lambda sink: sink.verdict(verdict, document))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs for the run to go on as if unbroken; what it rests on is on disk.

        Numbers, texts, lists, mappings and tensors alone. What cannot be kept is left out, and said.
        """
        self._tell(lambda sink: sink.flush())
        nothing: dict[str, Any] = {}
        state = {
            "version": _VERSION,
            "steps": self.steps,
            "observed": self._observed,
            "losses": self._answer("the state of the losses", lambda: self._losses.state_dict(), nothing),
            "diagnosis": self._answer("the diagnosis's state", lambda: self._diagnosis.state_dict(), nothing),
            "collector": self._answer("the collector's state", lambda: self._collector.state_dict(), nothing),
            "folder": str(self.folder) if self.folder else None,
            "run": self._kept.run_id,
        }
        self._tell_unkept()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned, as far as it can be read; what cannot is said.

        Where the run is kept in a folder of its own, incidents and detectors begin with that folder: what is
        kept there must be enough to judge it again.
        """
        parts = StateParts(state)

        def take(name: str, work: Callable[[Any], list[str] | None]) -> None:
            parts.unread.extend(f"{name}: {what}" for what in parts.read(name, work, None) or ())

        if not isinstance(state, Mapping) or state.get("version", _VERSION) != _VERSION:
            say("the monitor's state in the checkpoint is another version's; what can be read is taken up")
        take("steps", self._take_steps)
        take("observed", self._take_observed)
        take("losses", self._losses.load_state_dict)
        if self._kept.goes_on or not self.folder or self.disk_failed:
            take("diagnosis", self._diagnosis.load_state_dict)
        take("collector", self._collector.load_state_dict)
        unread = parts.unread
        if unread:
            said = "; ".join(unread[:_SAID]) + (
                f" and {len(unread) - _SAID} more" if len(unread) > _SAID else ""
            )
            say(f"of the monitor's state in the checkpoint this begins anew: {said}")
        self._look_ahead()

    def _take_steps(self, steps: Any) -> None:
        self.steps = whole_number(steps)

    def _take_observed(self, observed: Any) -> None:
        self._observed = whole_number(observed)

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

    def _read(self, step: int) -> StepRecord:
        """Return the step's record, read from the device."""
        try:
            if self._is_adaptive:
                self._collector.add_scalars({_CADENCE: self._cadence.every_n_steps})
            record = self._collector.collect(step)
            if not isinstance(record, StepRecord):
                raise TypeError(f"got {type(record).__name__} for a step's record")
        except Exception:
            # What is half read must not be taken for the next step's.
            self._collector.reset()
            raise
        if self._is_adaptive:
            # Clocks differ; the record is the same on all ranks.
            self._cadence.follow(int(record.readings[_CADENCE]))
        return record

    def _observe(self, record: StepRecord) -> list[IncidentChange]:
        self._observed += 1
        self._latest = record
        self._has_loss = self._has_loss or "train/loss" in record.tags
        self._losses.push(record.readings.get("train/loss", math.nan))
        known = set(self._diagnosis.failed)
        changes = list(self._diagnosis.update(record))
        for kind in self._diagnosis.failed.keys() - known:
            say(f"the detector {kind} is off: {self._diagnosis.failed[kind]}")
        self._tell(lambda sink: sink.record(record))
        self._tell_unkept()
        if not self._is_covered:
            self._answer("what is watched", self._tell_coverage_once_known, None)
        self._answer("what is no longer watched", self._tell_dark, None)
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
            say(line)
        self._keep_coverage()

    def _tell_dark(self) -> None:
        """Say once which sites went dark, and why."""
        for site, why in self._collector.dark.items():
            if site not in self._told_dark:
                self._told_dark.add(site)
                say(f"{site}: no longer watched: {why}")
        missed = {s: why for s, why in self._collector.missed.items() if s not in self._told_missed}
        self._told_missed.update(missed)
        for why in dict.fromkeys(missed.values()):
            sites = [site for site in missed if missed[site] == why]
            named = ", ".join(sites[:3]) + (", …" if sites[3:] else "")
            say(f"step {self.steps - 1}: not read: {named}: {why}")

    def _tell_unkept(self) -> None:
        """Say once of which detectors no state is kept."""
        for kind, why in tuple(getattr(self._diagnosis, "unkept", {}).items()):
            if f"state of {kind}" not in self._told_dark:
                self._told_dark.add(f"state of {kind}")
                say(
                    f"the detector {kind} begins anew where training is resumed: its state is not kept: {why}"
                )

    def _keep_coverage(self) -> None:
        if not (self.folder and self._is_first) or self.disk_failed:
            return
        folder = self.folder
        guard = self._parts.setdefault("coverage.json", Guard("coverage.json", 1, on_off=self._kept.fail))
        guard(lambda: write_coverage(folder, [asdict(row) for row in self.coverage()]), None)

    def _tell(self, say_it: Callable[[Listener], None]) -> None:
        """Say something to every sink; one that fails is dropped, and that is said once."""
        for sink, guard in self._sinks:
            guard(partial(say_it, sink), None)

    def _of_sink(self, sink: Listener) -> Guard:
        """Return what keeps a sink's errors from the rest; one of the user's own may raise anything."""

        def off(error: Exception) -> None:
            self._sinks = [each for each in self._sinks if each[0] is not sink]
            if isinstance(error, RunFolderError) or isinstance(sink, RunFolder):
                self._kept.fail(error)
            else:
                say(f"{type(sink).__name__} is off: {described(error)}")

        return Guard(type(sink).__name__, limit=1, on_off=off)

    def _run(self, part: str, work: Callable[[], T], limit: int | None = None) -> T | None:
        """Return what a part of watching returns, None where it fails; then all of it may go off."""
        if self._is_off:
            return None
        if part not in self._parts:
            self._parts[part] = Guard(part, limit or self._patience, on_off=self._go_off)
        return self._parts[part](work, None)

    def _answer(self, what: str, work: Callable[[], T], otherwise: T) -> T:
        """Return what somebody wants to know, or what stands for it where that fails, which is said once."""
        if not self._is_attached:
            return otherwise

        def checked() -> T:
            found = work()
            if otherwise is not None and not isinstance(found, type(otherwise)):
                raise TypeError(f"got {type(found).__name__}")
            return found

        return self._parts.setdefault(what, Guard(what, limit=None))(checked, otherwise)

    def _go_off(self, error: Exception) -> None:
        say(f"monitor is off from step {self.steps} on: {described(error)}")
        self._is_off = self._owes_leave = True
        if hasattr(self, "_collector"):
            self._collector.detach()

    def _look_ahead(self) -> None:
        """Ask once, as a step begins, whether it is to be observed: every question gets the same answer."""
        if self._is_off and not self._owes_leave:
            return
        guard = self._parts.setdefault("whether a step is due", Guard("whether a step is due", limit=None))
        self._is_due = bool(guard(lambda: self._cadence.is_due(self.steps), True))

    def _leave(self) -> None:
        """Let other ranks know; where that fails, they have ended or will find out for themselves."""
        self._owes_leave = False
        with contextlib.suppress(Exception):
            self._collector.leave()

    def _act(self, incident: Incident) -> None:
        self.should_stop = react(self._reactions, incident, self._is_first) or self.should_stop


def _incident(change: IncidentChange, sink: Listener) -> None:
    sink.incident(change)


def whole_number(given: Any) -> int:
    """Return a number of steps.

    Raises:
        ValueError: It is none.
        TypeError: It is no whole number.
    """
    number = operator.index(given)
    if isinstance(given, bool) or number < 0:
        raise ValueError(f"got {given!r}; must be a whole number from 0 on")
    return number
