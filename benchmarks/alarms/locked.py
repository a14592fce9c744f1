"""The locked part: limits frozen on the open runs, held to runs of another depth, text and optimizer."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.alarms.announcing import alarms
from benchmarks.alarms.folds import Fold
from benchmarks.alarms.intervals import Resamples
from benchmarks.alarms.labels import Label, Labels, label_runs
from benchmarks.alarms.methods import Method, Scored, fixed, kinds, signal
from benchmarks.alarms.runs import Run
from benchmarks.alarms.signals import SIGNALS
from benchmarks.alarms.study import Row, score
from stabilitykit.errors import DataError

LIMITS = Path(__file__).with_name("limits.json")
"""Each signal's rule and threshold, chosen on all open natural runs."""


def freeze(scored: Scored, natural: Labels) -> dict[str, dict[str, Any]]:
    """Return each signal's rule and threshold, chosen on all open natural runs."""
    everything = Fold("open", frozenset(natural), frozenset(natural))
    chosen = {name: signal(scored, natural, [everything], name) for name in SIGNALS}
    return {
        name: {"rule": method.rules["open"], "threshold": method.thresholds["open"]}
        for name, method in chosen.items()
        if method.thresholds["open"] < float("inf")
    }


def write_limits(limits: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep the limits with the code."""
    LIMITS.write_text(json.dumps(limits, indent=1) + "\n", encoding="utf-8")


def read_limits() -> dict[str, dict[str, Any]]:
    """Return the limits that were frozen.

    Raises:
        DataError: There are none yet.
    """
    if not LIMITS.exists():
        raise DataError(f"{LIMITS.name}: limits are not frozen yet; score the open runs first")
    found: dict[str, dict[str, Any]] = json.loads(LIMITS.read_text(encoding="utf-8"))
    return found


def locked_labels(runs: Sequence[Run]) -> dict[str, Label]:
    """Return the labels of the locked runs; what is compared there comes from all runs."""
    return {name: label for name, label in label_runs(runs).items() if label.arm == "locked"}


def locked_rows(scored: Scored, labels: Labels, limits: Mapping[str, Mapping[str, Any]]) -> tuple[Row, ...]:
    """Return how kinds, fixed rules and signals with their frozen limits did on the locked runs."""
    methods = [*kinds(scored), *fixed(scored)]
    for name, limit in limits.items():
        scores = scored.signal(name, str(limit["rule"]))
        said = {run: alarms(scores[run], float(limit["threshold"])) for run in labels}
        methods.append(Method(name, "signals", said, lasting=True, rules={"open": str(limit["rule"])}))
    return score(methods, labels, Resamples.of(labels))


def by_novelty(scored: Scored, labels: Labels) -> dict[str, Labels]:
    """Return the locked runs by what is new of them."""
    found: dict[str, dict[str, Label]] = {}
    for name, label in labels.items():
        run = scored.runs[name]
        if run.optimizer == "muon":
            new = "Muon"
        elif run.corpus == "synthetic":
            new = "another text"
        else:
            new = f"{run.n_layers} blocks"
        found.setdefault(new, {})[name] = label
    return dict(sorted(found.items()))
