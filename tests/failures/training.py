"""Small training runs that fail for a known reason, and what the monitor said of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stabilitykit import watch
from stabilitykit.detect import default_detectors
from stabilitykit.detect.knowledge import explained
from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.lab.training import TextDataModule
from stabilitykit.lab.training.config import DataConfig, OptimizerConfig
from stabilitykit.lab.training.loss import cross_entropy_with_z_loss
from stabilitykit.lab.training.optimizers import build_optimizer
from stabilitykit.records import Finding, Incident, StepRecord, Verdict

TOKENS = 32


@dataclass
class Moment:
    """What a disturbance may lay hands on, once before each step."""

    step: int
    batch: Tensor
    model: Transformer
    optimizer: torch.optim.Optimizer
    weight: float = 1.0
    """Factor on the step's gradient."""
    added: float = 0.0
    """What is added to the step's loss."""


def nothing(moment: Moment) -> None:
    """Leave a run alone."""


@dataclass(frozen=True)
class Run:
    """One small training run."""

    wiring: str = "pre_norm"
    lr: float = 3e-3
    warmup: int = 15
    steps: int = 120
    seed: int = 0
    clip: float | None = 1.0
    beta2: float = 0.95
    model: Mapping[str, Any] = field(default_factory=dict, hash=False)
    batches: int | None = None
    """Number of batches that are repeated in turn; fresh ones unless given."""
    disturb: Callable[[Moment], None] = nothing

    def but(self, **changes: Any) -> "Run":
        """Return the same run with something changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Outcome:
    """What was seen of a run."""

    verdict: Verdict
    losses: tuple[float, ...]
    findings: tuple[Finding, ...]

    def first(self, kind: str) -> Incident | None:
        """Return the first incident of a kind; of a kind that is evidence only, what would be one."""
        incidents = [incident for incident in self.verdict.incidents if incident.kind == kind]
        if incidents:
            return incidents[0]
        found = [finding for finding in self.findings if finding.kind == kind]
        return _as_incident(found[0], self.findings) if found else None

    @property
    def final(self) -> float:
        """Mean loss of the last ten steps, in nats."""
        return float(np.mean(self.losses[-10:]))


def _as_incident(first: Finding, evidence: tuple[Finding, ...]) -> Incident:
    incident = Incident(
        id=0,
        kind=first.kind,
        start=first.since,
        detected=first.step,
        peak=first.step,
        end=None,
        site=first.site,
        severity=first.severity,
        value=first.value,
        threshold=first.threshold,
        message=first.message,
        evidence=evidence,
    )
    causes, remedies = explained(incident, inside=True)
    return replace(incident, causes=causes, remedies=remedies)


@cache
def text(steps: int, seed: int) -> TextDataModule:
    """Return the batches of the standard library's sources."""
    data = TextDataModule(DataConfig(batch_size=8), TOKENS, seed, steps)
    data.setup("fit")
    return data


@cache
def train(run: Run) -> Outcome:
    """Train, once for each run, and return what the monitor said."""
    torch.set_num_threads(1)
    data = text(10_000, run.seed)
    surprise = torch.from_numpy(-np.log(data.corpus.unigram)).float()
    config = TransformerConfig.model_validate(
        {"d_model": 32, "n_layers": 3, "seq_len": TOKENS, "wiring": run.wiring} | dict(run.model)
    )
    model = Transformer(config, seed=run.seed)
    optimizer = build_optimizer(model, OptimizerConfig(lr=run.lr, beta2=run.beta2))
    losses: list[float] = []
    records: list[StepRecord] = []
    with watch(model, optimizer, on_incident=lambda incident: None) as monitor:
        for step in range(run.steps):
            for group in optimizer.param_groups:
                group["lr"] = run.lr * min(1.0, (step + 1) / max(run.warmup, 1))
            moment = Moment(step, data.batch(step % (run.batches or run.steps)), model, optimizer)
            run.disturb(moment)
            targets = moment.batch[:, 1:]
            logits = model(moment.batch[:, :-1]).flatten(0, 1)
            parts = cross_entropy_with_z_loss(logits, targets.flatten(), config.head.z_loss)
            optimizer.zero_grad()
            loss = parts.total + moment.added
            (moment.weight * loss).backward()
            if run.clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), run.clip)
            optimizer.step()
            monitor.step(
                loss.detach(),
                cross_entropy=parts.cross_entropy,
                unigram_cross_entropy=surprise[targets].mean(),
            )
            losses.append(float(parts.cross_entropy))
            records.append(monitor.latest())
        verdict = monitor.verdict()
    findings = [
        finding for detector in default_detectors() for r in records for finding in detector.update(r)
    ]
    return Outcome(verdict, tuple(losses), tuple(sorted(findings, key=lambda f: (f.since, f.step))))
