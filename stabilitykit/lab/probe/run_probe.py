"""A probe: one short training run that ends in a verdict."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from stabilitykit.errors import RunFolderError
from stabilitykit.lab.probe.certainty import StopWhenCertain
from stabilitykit.lab.probe.quiet import (
    Interruptible,
    StopTogether,
    log_to,
    no_exit,
    one_thread_count,
    quiet_lightning,
)
from stabilitykit.lab.probe.ranks import Rank, on_ranks
from stabilitykit.lab.probe.spec import ProbeSpec
from stabilitykit.lab.training import Corpus, FaultInjection, TextDataModule, TransformerModule
from stabilitykit.live.callbacks import StabilityMonitor
from stabilitykit.live.listener import Listener
from stabilitykit.records import IncidentChange, StepRecord, Verdict
from stabilitykit.store import check_free

RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """What is about to run."""

    spec: ProbeSpec
    logdir: Path
    steps: int
    warmup: int
    n_blocks: int
    n_parameters: int
    corpus: str
    """One line: name, size, entropies."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How a probe ended."""

    verdict: Verdict
    final_loss: float | None
    """Mean of the last 5 % of the steps, in nats; None where it is not a number."""
    best_loss: float | None
    """Lowest mean over as many steps in a row."""
    steps: int
    logdir: Path
    config: Mapping[str, Any] = field(repr=False)
    disk_failed: bool = False
    """Whether the run could not be kept to its end."""
    stopped_early: bool = False
    """Whether it was stopped since its verdict was certain."""
    signal: int | None = None
    """Number of the signal that ended it before its time, or None."""

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``probe --json`` prints."""
        return self.verdict.to_json() | {
            "final_loss": self.final_loss,
            "best_loss": self.best_loss,
            "steps": self.steps,
            "logdir": str(self.logdir),
            "config": dict(self.config),
        }


class _Announcement(L.Callback):
    """Tells the listener of the plan once the monitor has its folder: a refused one announces nothing."""

    def __init__(self, plan: ProbePlan, listener: Listener) -> None:
        self._plan = plan
        self._listener = listener

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell of the plan."""
        self._listener.started(self._plan)


def probe(
    spec: ProbeSpec,
    logdir: Path | None = None,
    listener: Listener | None = None,
    *,
    stop_when_certain: bool = False,
) -> ProbeResult:
    """Train briefly and return the verdict.

    Ctrl-C, SIGTERM and a closed terminal end the run cleanly: what was recorded is kept, and the verdict is
    not ``complete``.

    Args:
        spec: What to train and for how long.
        logdir: Folder of the run, new or empty; ``runs/<arch>-<n>`` unless given.
        listener: Follows the run.
        stop_when_certain: Whether to end the run once its verdict is as good as certain (``Certainty``).

    Raises:
        DataError: The corpus cannot be used.
        RunFolderError: The folder cannot be written, or is not empty.
    """
    folder, listener = _folder(spec.arch, logdir), listener or Listener()
    if spec.trainer.devices == 1:
        return _train(spec, folder, listener, stop_when_certain)
    work = partial(_on_rank, spec=spec, folder=folder, stop_when_certain=stop_when_certain)
    signals: list[int] = []
    result = on_ranks(spec.trainer.devices, work, partial(_pass_on, listener), signals.append)
    return replace(result, signal=signals[0]) if signals else result


def _train(
    spec: ProbeSpec,
    folder: Path,
    listener: Listener,
    stop_when_certain: bool,
    rank: Rank | None = None,
) -> ProbeResult:
    if rank is None or rank.number == 0:
        check_free(folder)
    with quiet_lightning(), one_thread_count(spec.trainer.threads), _seeded(spec.seed, rank):
        data = TextDataModule(spec.data, spec.model.seq_len, spec.seed, spec.trainer.steps)
        data.setup("fit")
        module = TransformerModule(
            spec.model,
            spec.optimizer,
            spec.schedule,
            spec.trainer.steps,
            spec.seed,
            unigram=data.corpus.unigram,
            sharpness_every_n_steps=spec.monitor.sharpness_every_n_steps,
        )
        config = {**spec.resolved(), "corpus": _corpus(data.corpus), "lightning": L.__version__}
        monitor = StabilityMonitor(
            every_n_steps=spec.monitor.every_n_steps,
            on_incident=_no_policy,
            logdir=folder,
            sinks=[listener],
            config=config,
        )
        plan = _plan(spec, folder, module, data.corpus)
        certainty = StopWhenCertain(monitor, spec.trainer.steps)
        interrupts = StopTogether(monitor, rank.told_to_stop) if rank else Interruptible(monitor)
        # First, so that the monitor reads what went wrong on the very step.
        faults = [FaultInjection(spec.fault)] if spec.fault else []
        callbacks = [*faults, monitor, _Announcement(plan, listener), interrupts]
        with no_exit(), log_to(listener.notice):
            _trainer(spec, [*callbacks, *[certainty] * stop_when_certain]).fit(module, data)
        number = interrupts.signal if isinstance(interrupts, Interruptible) else None
        return _result(monitor, folder, config, certainty.stopped, number)


def _on_rank(rank: Rank, spec: ProbeSpec, folder: Path, stop_when_certain: bool) -> ProbeResult:
    return _train(spec, folder, Listener() if rank.number else _Sender(rank), stop_when_certain, rank)


class _Sender(Listener):
    """The first rank's listener: what it hears goes to the process that has the real one."""

    def __init__(self, rank: Rank) -> None:
        self._tell = rank.tell

    def started(self, plan: ProbePlan) -> None:
        """Pass on the plan."""
        self._tell(("started", plan))

    def record(self, record: StepRecord) -> None:
        """Pass on a step."""
        self._tell(("record", record))

    def incident(self, change: IncidentChange) -> None:
        """Pass on what happens to an incident."""
        self._tell(("incident", change))

    def notice(self, message: str) -> None:
        """Pass on a line."""
        self._tell(("notice", message))


def _pass_on(listener: Listener, message: tuple[str, Any]) -> None:
    name, content = message
    getattr(listener, name)(content)


@contextmanager
def _seeded(seed: int, rank: Rank | None) -> Iterator[None]:
    """Begin with the run's own random state, for a while.

    Dropout draws from it: without this a run would depend on what its process has trained before. Ranks draw
    apart, since each has other rows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + (rank.number << 32 if rank else 0))
        yield


def _no_policy(incident: object) -> None:
    """Let an incident be: the listener tells of it."""


def _trainer(spec: ProbeSpec, callbacks: list[L.Callback]) -> L.Trainer:
    return L.Trainer(
        max_steps=spec.trainer.steps,
        max_epochs=-1,
        gradient_clip_val=spec.trainer.clip,
        accelerator=spec.trainer.accelerator,
        devices=spec.trainer.devices,
        strategy=spec.trainer.strategy,
        precision=spec.trainer.precision,
        # Not Slurm's or torchrun's: whatever this process is a part of, the run is its own.
        plugins=[LightningEnvironment()],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=callbacks,
    )


def _result(
    monitor: StabilityMonitor,
    folder: Path,
    config: Mapping[str, Any],
    stopped_early: bool,
    number: int | None,
) -> ProbeResult:
    summary = monitor.summary()
    verdict = monitor.verdict()
    return ProbeResult(
        verdict=verdict,
        final_loss=summary["final_loss"],
        best_loss=summary["best_loss"],
        steps=verdict.steps,
        logdir=folder,
        config=config,
        disk_failed=monitor.disk_failed,
        stopped_early=stopped_early,
        signal=number,
    )


def _folder(arch: str, logdir: Path | None) -> Path:
    """Return the run's folder; a default one is made at once, so that no other run takes its name."""
    if logdir is not None:
        return logdir
    n = 1
    try:
        RUNS.mkdir(parents=True, exist_ok=True)
        while True:
            folder = RUNS / f"{arch}-{n}"
            try:
                folder.mkdir()
            except FileExistsError:
                n += 1
            else:
                return folder
    except OSError as error:
        raise RunFolderError(
            f"{RUNS}: cannot be written ({error.strerror}); name another with --logdir"
        ) from None


def _plan(spec: ProbeSpec, folder: Path, module: TransformerModule, corpus: Corpus) -> ProbePlan:
    return ProbePlan(
        spec=spec,
        logdir=folder,
        steps=spec.trainer.steps,
        warmup=spec.warmup,
        n_blocks=spec.model.n_layers,
        n_parameters=sum(p.numel() for p in module.parameters()),
        corpus=(
            f"{corpus.name}, {corpus.train.nbytes / 1e6:.1f} MB to train on, entropy "
            f"{corpus.unigram_entropy:.2f} (unigram) and {corpus.bigram_entropy:.2f} (bigram) "
            f"nats a {corpus.unit}"
        ),
    )


def _corpus(corpus: Corpus) -> dict[str, Any]:
    return {
        "name": corpus.name,
        "sha256": corpus.sha256,
        "train_bytes": corpus.train.nbytes,
        "unigram_entropy": float(corpus.unigram_entropy),
        "bigram_entropy": float(corpus.bigram_entropy),
    }
