"""A command line whose library is faked, and runs to show without training."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stabilitykit.records import Finding, Incident, IncidentChange, Severity, StepRecord, Verdict
from stabilitykit_cli.app import main

N_BLOCKS = 6
STEPS = 20


def readings(step: int, n_blocks: int = N_BLOCKS) -> dict[str, float]:
    """Return a plausible record's readings: the loss parks, the deepest gradient is lost."""
    found = {
        "train/loss": 3.1 + 2.4 * math.exp(-step / 5),
        "train/unigram_cross_entropy": 3.24,
        "optim/lr": 0.01,
        "optim/grad_norm": 0.5,
    }
    for block in range(n_blocks):
        site = f"blocks.{block:02d}"
        found |= {
            f"act/rms/{site}.resid_post": 1.0 + 0.1 * block,
            f"grad/share/{site}": 0.002 if block == 0 else 0.3,
            f"attn/logit_max/{site}": 3.0 + block,
            f"attn/entropy/{site}": 0.9 - 0.05 * block,
            f"optim/update_ratio/{site}": 1e-3 * (1 + block),
        }
    return found


def an_incident(**changes: Any) -> Incident:
    """Return an open vanishing_gradient at blocks.00, with what is given changed."""
    finding = Finding("vanishing_gradient", "blocks.00", 5, 4, 0.002, 0.01, Severity.WARNING, "share is low")
    growth = Finding("attention_logit_growth", "blocks.03", 3, 3, 14.0, 9.0, Severity.INFO, "logits grow")
    fields = {
        "id": 0,
        "kind": "vanishing_gradient",
        "start": 4,
        "detected": 5,
        "peak": 8,
        "end": None,
        "site": "blocks.00",
        "severity": Severity.WARNING,
        "value": 0.002,
        "threshold": 0.01,
        "message": "gradient share 0.002 [below 0.01]",
        "causes": ("the rate is too high for this placement",),
        "remedies": ("warm up: --warmup 30",),
        "evidence": (growth, finding),
    }
    return Incident(**{**fields, **changes})


def a_plan(**changes: Any) -> SimpleNamespace:
    """Return a probe's plan, with what is given changed."""
    spec = SimpleNamespace(arch="post_norm", seed=1, optimizer=SimpleNamespace(lr=0.01))
    fields = {
        "spec": spec,
        "logdir": Path("runs/post_norm-1"),
        "steps": STEPS,
        "n_parameters": 338_560,
        "corpus": "python library, 10.9 MB, unigram 3.240, bigram 2.418",
        "warmup": 0,
        "n_blocks": N_BLOCKS,
    }
    return SimpleNamespace(**{**fields, **changes})


def a_verdict(
    outcome: str = "stable", complete: bool = True, incidents: tuple[Incident, ...] = ()
) -> Verdict:
    """Return a verdict over the usual number of steps."""
    return Verdict(outcome, f"the loss says {outcome}", complete, STEPS, incidents)  # type: ignore[arg-type]


def play(listener: Any, plan: SimpleNamespace, steps: int = STEPS) -> None:
    """Show a run with one incident, opened at step 5, to a listener."""
    listener.started(plan)
    tags = tuple(readings(0))
    for step in range(steps):
        record = StepRecord.of(step, readings(step))
        listener.record(StepRecord(step, tags, record.values))
        if step == 5:
            listener.incident(IncidentChange("opened", step, an_incident()))


@dataclass
class FakeLibrary:
    """What the commands call, and what they called it with."""

    verdict: Verdict = field(default_factory=a_verdict)
    final_loss: float = 2.4
    disk_failed: bool = False
    error: BaseException | None = None
    spec_error: Exception | None = None
    logs: dict[str, Verdict | Exception] = field(default_factory=dict)
    built: tuple[Any, ...] = ()
    logdir: Path | None = None
    replayed: list[tuple[Path, Mapping[str, Any]]] = field(default_factory=list)

    def build_spec(self, arch: str | None, recipe: Path | None, overrides: Any, flags: Any) -> Any:
        """Stand in for ``stabilitykit.lab.probe.build_spec``."""
        self.built = arch, recipe, list(overrides), dict(flags)
        if self.spec_error:
            raise self.spec_error
        return SimpleNamespace(arch=arch or "from_recipe", seed=1, optimizer=SimpleNamespace(lr=0.01))

    def probe(self, spec: Any, logdir: Path | None = None, listener: Any = None) -> Any:
        """Stand in for ``stabilitykit.lab.probe.probe``."""
        self.logdir = logdir
        play(listener, a_plan(spec=spec))
        if self.error:
            raise self.error
        document = {**self.verdict.to_json(), "final_loss": self.final_loss, "logdir": Path("runs/x-1")}
        return SimpleNamespace(
            signal=None,
            verdict=self.verdict,
            final_loss=self.final_loss,
            best_loss=2.3,
            steps=STEPS,
            logdir=Path("runs/x-1"),
            config={},
            disk_failed=self.disk_failed,
            to_json=lambda: document,
        )

    def replay(self, path: Path, **settings: Any) -> Any:
        """Stand in for ``stabilitykit.afterwards.replay.replay``."""
        settings.pop("on_progress")
        self.replayed.append((path, settings))
        found = self.logs[str(path)]
        if isinstance(found, Exception):
            raise found
        return SimpleNamespace(verdict=found, notes=("no unigram cross-entropy",), source="csv")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    """The library behind the commands, with nothing of it run."""
    fake = FakeLibrary()
    # Each in its real place: a function that has moved fails here.
    for place, stand_in in {
        "stabilitykit.lab.probe.build_spec": fake.build_spec,
        "stabilitykit.lab.probe.probe": fake.probe,
        "stabilitykit.afterwards.replay.replay": fake.replay,
        "stabilitykit.store.tensorboard.tensorboard_command": lambda folder: f"tensorboard at {folder}",
        "stabilitykit.store.tensorboard.tensorboard_url": lambda: "http://localhost:6006/",
    }.items():
        monkeypatch.setattr(place, stand_in)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "100")
    return fake


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def stabilitykit(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the command line in this process."""

    def run(*arguments: str) -> Ended:
        status = main(arguments)
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return run
