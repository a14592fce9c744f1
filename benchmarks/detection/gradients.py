"""The detector of gradient spikes, on the norms that traces log and on made-up ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.detection.log import Values
from benchmarks.detection.series import ar1
from benchmarks.detection.traces import Traces
from stabilitykit.detect.gradient_spike import GRADIENT_NORM, GradientSpike
from stabilitykit.records import Severity, StepRecord

SPIKES, APART = 5, 300
"""Spikes in a made-up series, and the points between them."""


@dataclass
class Found:
    """What the detector said of some series."""

    points: int = 0
    spikes: int = 0
    found: int = 0
    """Spikes at which an alarm was given."""
    noted: int = 0
    """Findings elsewhere that are evidence only."""
    alarms: int = 0
    """Alarms elsewhere."""


def _falling(n: int) -> Values:
    """Return the level of a norm: high at the start, slowly rising at the end, as under weight decay."""
    t = np.arange(n) / n
    return 0.4 + 5 * np.exp(-60 * t) + 0.3 * t


def _lognormal(rng: np.random.Generator, n: int) -> Values:
    return _falling(n) * np.exp(rng.normal(0, rng.uniform(0.1, 0.5), n))


def _heavy(rng: np.random.Generator, n: int) -> Values:
    return _falling(n) * np.exp(0.2 * rng.standard_t(3, n))


def _autocorrelated(rng: np.random.Generator, n: int) -> Values:
    return _falling(n) * np.exp(0.4 * ar1(rng, n, 0.95))


def _clipped(rng: np.random.Generator, n: int) -> Values:
    """Return norms that were logged after clipping at 1: most are the same number."""
    return np.minimum(_lognormal(rng, n) * 2.5, 1.0)


MADE_UP: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "lognormal, width 0.1 to 0.5": _lognormal,
    "log of Student's t, 3 degrees": _heavy,
    "lognormal, autocorrelated": _autocorrelated,
    "clipped at 1": _clipped,
}


def on_made_up(seeds: int) -> dict[str, Found]:
    """Return what is said of made-up norms with five jumps by a factor of 150 to 1,000 in each."""
    result = {}
    for name, make in MADE_UP.items():
        total = result[name] = Found()
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            norms = make(rng, APART * (SPIKES + 1))
            places = APART * np.arange(1, SPIKES + 1) + rng.integers(-50, 50, SPIKES)
            norms[places] *= np.exp(rng.uniform(np.log(150), np.log(1000), SPIKES))
            _judge(norms, set(places.tolist()), total)
    return result


def on_traces(traces: Traces) -> dict[str, Found]:
    """Return what is said of the norms in the traces, by label; no label speaks of a norm."""
    result: dict[str, Found] = {}
    for label, norms in _norms(traces):
        _judge(norms, set(), result.setdefault(f"traces, {label}", Found()))
    return result


def _norms(traces: Traces) -> Iterator[tuple[str, Values]]:
    for trace in traces.scored:
        if trace["has_grad_norm"]:
            log = traces.log(trace)
            if log.grad_norm is not None:
                yield trace["label"], log.grad_norm


def _judge(norms: Values, spikes: set[int], total: Found) -> None:
    detector, alarms = GradientSpike(), set()
    for step, norm in enumerate(norms.tolist()):
        if np.isnan(norm):
            continue
        total.points += 1
        for finding in detector.update(StepRecord.of(step, {GRADIENT_NORM: norm})):
            if finding.severity is not Severity.INFO:
                alarms.add(step)
            elif step not in spikes:
                total.noted += 1
    total.spikes += len(spikes)
    total.found += len(spikes & alarms)
    total.alarms += len(alarms - spikes)
