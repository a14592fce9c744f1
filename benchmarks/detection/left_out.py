"""Settings chosen on all sources of traces but one, and scored on that one."""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detection.log import Log, Said, Tool
from benchmarks.detection.ours import said
from benchmarks.detection.traces import Traces
from stabilitykit.detect import Detector
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.detect.divergence import Divergence
from stabilitykit.detect.loss_spike import LossSpike
from stabilitykit.detect.nonfinite import NonFinite
from stabilitykit.records import StepRecord

Settings = Mapping[str, float]
"""Arguments of the detectors' constructors, each as ``kind.argument``."""

DETECTORS: Mapping[str, type[Detector]] = {"loss_spike": LossSpike, "divergence": Divergence}

AXES: Mapping[str, Sequence[float]] = {
    "loss_spike.sigmas": (5.5, 7.0, 9.0),
    "loss_spike.relative": (0.05, 0.08, 0.12),
    "divergence.far": (0.2, 0.3),
}
"""Around the defaults; what is not named keeps its default."""


def grid(axes: Mapping[str, Sequence[float]]) -> list[Settings]:
    """Return every combination of the values on some axes."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def with_settings(settings: Settings) -> Tool:
    """Return the loss detectors with these settings, as a tool."""

    def judge(path: Path, log: Log) -> Said:
        diagnosis = Diagnosis([NonFinite(), *(_detector(kind, settings) for kind in DETECTORS)])
        for record in _records(log):
            diagnosis.update(record)
        return said(diagnosis.verdict())

    name = ", ".join(f"{argument} {value:g}" for argument, value in settings.items())
    return Tool(name, "ours", "the loss detectors with other settings", judge)


def _detector(kind: str, settings: Settings) -> Detector:
    given = {name.split(".")[1]: value for name, value in settings.items() if name.split(".")[0] == kind}
    return DETECTORS[kind](**given)


def _records(log: Log) -> list[StepRecord]:
    """Return the log's records; of a step that comes twice the newer, as the reader has it."""
    columns = {"train/loss": log.loss, "optim/grad_norm": log.grad_norm, "optim/lr": log.lr}
    taken = {tag: values for tag, values in columns.items() if values is not None}
    tags, table = tuple(taken), np.stack(list(taken.values()), axis=1).astype(np.float32)
    newest = {int(step): row for row, step in enumerate(log.steps)}
    return [StepRecord(step, tags, table[row]) for step, row in sorted(newest.items())]


@dataclass(frozen=True)
class LeftOut:
    """The outcome of leaving out each source in turn."""

    pooled: dict[str, Any]
    """The scorer's figures over all sources, each judged with the settings chosen without it."""
    interval: tuple[float, float]
    """95 % interval of F1 from a bootstrap over sources."""
    chosen: dict[str, str]
    """The settings chosen without each source."""
    by_settings: dict[str, dict[str, Any]]
    """The pooled figures of each setting over all sources: what looking at everything would give."""


def leave_one_out(
    traces: Traces, settings: Sequence[Settings], tick: Callable[[], None] = lambda: None
) -> LeftOut:
    """Choose by F1 on all sources but one, score on that one, and pool.

    Args:
        traces: The traces.
        settings: What is chosen from; of equal ones the first is taken.
        tick: Called after every trace and setting.
    """
    scores = [traces.score(with_settings(each), tick) for each in settings]
    summarise = traces.scorer.summarise
    kept: dict[str, list[dict[str, Any]]] = {}
    chosen: dict[str, str] = {}
    for source in scores[0].by_source:
        others = [summarise([row for row in s.rows if row["source"] != source])["f1"] for s in scores]
        best = scores[int(np.argmax(others))]
        chosen[source] = best.tool.name
        kept[source] = [row for row in best.rows if row["source"] == source]
    pooled = summarise([row for rows in kept.values() for row in rows])
    by_settings = {score.tool.name: score.pooled for score in scores}
    return LeftOut(pooled, _interval(kept, summarise), chosen, by_settings)


def _interval(kept: Mapping[str, list[dict[str, Any]]], summarise: Callable[..., Any]) -> tuple[float, float]:
    rng, names = random.Random(0), sorted(kept)
    drawn = []
    for _ in range(1000):
        rows = [row for name in rng.choices(names, k=len(names)) for row in kept[name]]
        drawn.append(summarise(rows)["f1"])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)
