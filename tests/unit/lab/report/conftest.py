"""A sweep on disk as a real one leaves it: run folders, results, a plan with claims; made up, not trained."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stabilitykit.lab.sweep.grid import (
    CellResult,
    IncidentBrief,
    Sweep,
    SweepPlan,
    open_sweep,
    write_plan,
    write_result,
)
from stabilitykit.records import Incident, IncidentChange, Severity, StepRecord, Verdict
from stabilitykit.store import RunWriter

STEPS = 40
UNIGRAM = 3.2
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
AXES = {
    "arch": ["post_norm", "pre_norm"],
    "schedule.warmup": [0, 10],
    "optimizer.lr": [0.001, 0.01, 0.1],
}
CLAIM = {
    "says": "without warmup post-norm loses more at 1e-1 than with it",
    "measure": "final_loss",
    "where": {"arch": "post_norm", "schedule.warmup": 0, "optimizer.lr": 0.1},
    "minus": {"arch": "post_norm", "schedule.warmup": 10, "optimizer.lr": 0.1},
    "band": [0.3, None],
}

WriteSweep = Callable[..., Path]


def fails(values: Mapping[str, Any], seed: int) -> bool:
    """Return whether a cell fails: post-norm without warmup from 1e-2 on, with it at 1e-1 in one seed."""
    if values["arch"] != "post_norm":
        return False
    warm = values["schedule.warmup"] > 0
    return (values["optimizer.lr"] >= 0.1 and (not warm or seed == 0)) or (
        values["optimizer.lr"] >= 0.01 and not warm
    )


def an_incident(kind: str, site: str, start: int) -> Incident:
    """Return an incident that stays open."""
    return Incident(
        id=0,
        kind=kind,
        start=start,
        detected=start + 2,
        peak=start + 2,
        end=None,
        site=site,
        severity=Severity.CRITICAL,
        value=0.001,
        threshold=0.01,
        message=f"{site} gets nothing {HOSTILE}",
        causes=("a cause",),
        remedies=("a remedy",),
    )


def write_run(
    folder: Path, losses: list[float], incidents: tuple[Incident, ...] = (), layers: int = 2, **config: Any
) -> None:
    """Write a run's folder: its loss, and what a monitor reads of a small model."""
    writer = RunWriter(folder, {"corpus": {"unigram_entropy": UNIGRAM}, **config})
    for step, loss in enumerate(losses):
        readings = {"train/loss": loss, "optim/lr": 0.1}
        for block in range(layers):
            site = f"blocks.{block:02}"
            readings[f"act/rms/{site}.resid_post"] = 1.0 + block + 0.01 * step
            readings[f"attn/entropy/{site}"] = 0.9 if step < 20 else math.nan
        readings |= {"optim/grad_norm": 1.0 + step % 5}
        readings |= {f"grad/share/blocks.{block:02}": 0.5**block for block in range(layers)}
        writer.record(StepRecord.of(step, readings))
    for incident in incidents:
        writer.incident(IncidentChange("opened", incident.detected, incident))
    writer.verdict(Verdict("stable", "told", True, len(losses), incidents).to_json())
    writer.close()


def course(failing: bool, lr: float, seed: int) -> list[float]:
    """Return the losses of a run."""
    end = UNIGRAM if failing else 2.0 + 2 * abs(math.log10(lr) + 2) / 10
    return [end + 0.01 * seed + 2.3 * math.exp(-step / 5) for step in range(STEPS)]


@pytest.fixture(scope="session")
def write_sweep() -> WriteSweep:
    """Return a function that writes a sweep into a folder and returns the plan's file."""

    def write(
        folder: Path,
        axes: Mapping[str, Any] = AXES,
        seeds: int = 2,
        done: Callable[..., bool] = lambda *_: True,
        **plan: Any,
    ) -> Path:
        given = {"name": "norms", "about": {"question": f"Which norm? {HOSTILE}"}, "claims": (CLAIM,)} | plan
        made = SweepPlan(fields={"arch": "pre_norm"}, seeds=tuple(range(seeds)), **given).with_axes(axes)
        for cell in made.cells():
            values = {"arch": "pre_norm", "schedule.warmup": 0, "optimizer.lr": 0.01} | dict(cell.values)
            if not done(values, cell.seed):
                continue
            failing = fails(values, cell.seed)
            losses = course(failing, values["optimizer.lr"], cell.seed)
            found = (an_incident("vanishing_gradient", "blocks.01", 9),) if failing else ()
            write_run(folder / cell.key, losses, found)
            write_result(
                folder / cell.key,
                CellResult(
                    outcome="stuck" if failing else "stable",
                    reason="the loss says so",
                    first_loss=losses[0],
                    final_loss=losses[-1],
                    best_loss=min(losses),
                    steps=STEPS,
                    incidents=tuple(IncidentBrief.of(each) for each in found),
                ),
            )
        return write_plan(folder, made)

    return write


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory, write_sweep: WriteSweep) -> Sweep:
    """A sweep of 24 runs: post-norm fails without warmup from 1e-2 on, and in one seed with it."""
    return open_sweep(write_sweep(tmp_path_factory.mktemp("sweep")))
