"""Runs to be drawn: ordinary ones, and those that break pictures."""

import math
from collections.abc import Callable, Iterable

import pytest

from stabilitykit.figures.run_picture import RunCurves, RunPicture
from stabilitykit.records import KINDS, Finding, Incident, Severity, StepRecord, Verdict

LOSS_KINDS = ("loss_spike", "divergence", "stuck", "nonfinite")


def an_incident(number: int, kind: str, start: int, end: int | None, severity: Severity) -> Incident:
    """Return an incident of some kind at the site where that kind is seen."""
    site = {"gradient_spike": "optim/grad_norm"}.get(kind, "blocks.03")
    site = "train/loss" if kind in LOSS_KINDS else site
    message = f"{kind} <seen> & told {number}"
    first = Finding("entropy_collapse", "blocks.07", start, start, math.nan, 0.5, Severity.INFO, "seen first")
    return Incident(
        id=number,
        kind=kind,
        start=start,
        detected=start,
        peak=start,
        end=end,
        site=site,
        severity=severity,
        value=9.0,
        threshold=1.0,
        message=message,
        causes=("a cause",),
        remedies=("a <remedy>",),
        evidence=(first,),
    )


@pytest.fixture
def make_run() -> Callable[..., RunPicture]:
    """Build a run's picture from its losses, its gradient norms and its incidents."""

    def make(
        losses: Iterable[float],
        grad_norms: Iterable[float] = (),
        incidents: Iterable[Incident] = (),
        title: str = "runs/a",
        outcome: str = "recovered",
    ) -> RunPicture:
        curves, steps = RunCurves(), 0
        norms = list(grad_norms)
        for step, loss in enumerate(losses):
            readings = {"train/loss": loss} | ({"optim/grad_norm": norms[step]} if norms else {})
            curves.add(StepRecord.of(step, readings))
            steps = step + 1
        verdict = Verdict(outcome, f"the loss says {outcome} & <so>", False, steps, tuple(incidents))  # type: ignore[arg-type]
        return RunPicture(title, verdict, curves)

    return make


@pytest.fixture
def eventful(make_run: Callable[..., RunPicture]) -> RunPicture:
    """A run with two hundred incidents of every kind, an open one, a stretch of NaN and a gradient norm."""
    losses = [3 + 8 * math.exp(-step / 50) + 0.1 * math.sin(7 * step * step) for step in range(2000)]
    losses[700:720] = [math.nan] * 20
    losses[1500] = 40.0
    severities = (Severity.WARNING, Severity.CRITICAL)
    incidents = [
        an_incident(n, KINDS[n % len(KINDS)], 9 * n + 30, 9 * n + 30 + n % 5, severities[n % 3 == 0])
        for n in range(199)
    ]
    incidents.append(an_incident(199, "divergence", 1900, None, Severity.CRITICAL))
    return make_run(
        losses, [1.0 + step % 7 for step in range(2000)], incidents, title="runs/<b>&amp; 'x' $a$ \x1b\udcff"
    )
