"""Scores as rows of text."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmarks.alarms.conditional import Conditional
from benchmarks.alarms.config_only import Gain
from benchmarks.alarms.labels import Kind, Labels
from benchmarks.alarms.methods import Scored
from benchmarks.alarms.runs import Run
from benchmarks.alarms.score import HEADLINE, Score
from benchmarks.alarms.study import Row
from benchmarks.detection.tables import Table, number
from stabilitykit.lab.sweep.compare.intervals import Estimate
from stabilitykit.records import KINDS, Severity

HEAD = (
    "lead ≥ 1",
    "≥ 5",
    "≥ 20",
    "chance",
    "in the horizon",
    "median lead",
    "false / 1,000",
    "healthy flagged",
    "grey",
)


def estimate(value: Estimate) -> str:
    """Return a figure and its interval."""
    if value.value is None:
        return "–"
    if value.low is None or value.high is None:
        return number(value.value)
    return f"{value.value:.2f} ({value.low:.2f}–{value.high:.2f})"


def cells(score: Score) -> tuple[str, ...]:
    """Return a score as the columns of ``HEAD``."""
    recall = score.anytime
    lead = f"{recall.lead.median:.0f}" if math.isfinite(recall.lead.median) else "missed"
    return (
        number(recall.share[1].value),
        estimate(recall.share[HEADLINE]),
        number(recall.share[20].value),
        number(recall.chance[HEADLINE]),
        number(score.strict.share[HEADLINE].value),
        lead,
        estimate(score.healthy.per_thousand),
        number(score.flagged.value),
        number(score.grey.value),
    )


def rows_table(rows: Iterable[Row], head: str = "method") -> Table:
    """Return one row a method."""
    return Table("", (head, *HEAD), [(row.method.name, *cells(row.score)) for row in rows])


def signals_table(rows: Iterable[Row], holm: Mapping[str, float]) -> Table:
    """Return one row a signal, the best first, with the rules that were chosen and its p value."""
    ordered = sorted(rows, key=lambda row: -(row.score.headline.value or 0))
    return Table(
        "",
        ("signal", "rule", *HEAD, "p"),
        [
            (
                row.method.name,
                "/".join(dict.fromkeys(row.method.rules.values())),
                *cells(row.score),
                number(holm[row.method.name], 3),
            )
            for row in ordered
            if row.score.unarmed < row.score.events
        ],
    )


def parts_table(by_part: Mapping[str, Sequence[Row]], kinds: Sequence[str]) -> Table:
    """Return for each part of the runs how some kinds did: recall at a lead of 5, false alarms per 1,000."""
    lines = []
    for part, rows in by_part.items():
        scores = {row.method.name: row.score for row in rows}
        shown = [
            f"{number(scores[kind].headline.value)} · {number(scores[kind].healthy.per_thousand.value)}"
            for kind in kinds
        ]
        lines.append((part, str(rows[0].score.events), *shown))
    return Table("", ("runs", "failures", *kinds), lines)


def labels_table(labels: Labels) -> Table:
    """Return how many runs of each arm and placement have each label."""
    counts = Counter((label.arm, label.arch, label.kind) for label in labels.values())
    places = sorted({(arm, arch) for arm, arch, _ in counts})
    shown = [kind for kind in Kind if any(counts[(*place, kind)] for place in places)]
    lines = [(arm, arch, *(str(counts[arm, arch, kind] or "") for kind in shown)) for arm, arch in places]
    return Table("", ("arm", "placement", *(kind.value for kind in shown)), lines)


def conditional_table(found: Mapping[str, Sequence[Conditional]], gains: Mapping[str, Gain]) -> Table:
    """Return what signals know beyond the configuration."""
    first = next(iter(found.values()))
    head = ("signal", *(f"by step {each.step}" for each in first), "nats a run over the configuration")
    order = sorted(found, key=lambda name: -(found[name][-1].auc.value or 0))
    lines = [
        (name, *(estimate(each.auc) for each in found[name]), estimate(gains[name].gain)) for name in order
    ]
    return Table("", head, lines)


def variants_table(variants: Mapping[str, Mapping[str, Score]], kinds: Sequence[str]) -> Table:
    """Return the recall of some kinds at a lead of 5 under other labels."""
    lines = []
    for name, scores in variants.items():
        events = str(scores[kinds[0]].events)
        lines.append((name, events, *(number(scores[kind].headline.value) for kind in kinds)))
    return Table("", ("labels", "failures", *kinds), lines)


def spikes_table(rows: Iterable[Row]) -> Table:
    """Return what was said of spikes: before the onset, or after it."""
    head = (
        "kind",
        "spikes",
        "before the onset",
        "chance",
        "after the onset",
        "median delay",
        "false / 1,000",
    )
    return Table(
        "",
        head,
        [
            (
                row.method.name,
                str(row.score.events),
                number(row.score.anytime.share[1].value),
                number(row.score.anytime.chance[1]),
                str(row.score.late),
                number(row.score.delay, 0),
                number(row.score.healthy.per_thousand.value),
            )
            for row in rows
            if "," not in row.method.name
        ],
    )


def faults_table(labels: Labels, runs: Mapping[str, Run], scored: Scored, within: int = 20) -> Table:
    """Return which kinds announce something within some steps of a fault, and after how many."""
    found: dict[str, dict[str, list[int]]] = {}
    loss: dict[str, list[int | None]] = {}
    for name, label in labels.items():
        if label.kind is not Kind.INJECTED:
            continue
        event, fault = label.events[0], runs[name].config["fault"]
        what = f"{fault['kind']} × {fault['factor']:g}" if fault.get("factor") else str(fault["kind"])
        loss.setdefault(what, []).append(None if event.loss_onset is None else event.loss_onset - event.onset)
        delays = found.setdefault(what, {})
        for kind in KINDS:
            steps = scored.told[name].alarms(kind, Severity.INFO)
            after = steps[(steps >= event.onset) & (steps <= event.onset + within)]
            if len(after):
                delays.setdefault(kind, []).append(int(after[0]) - event.onset)
    lines = [
        (what, str(len(loss[what])), _answers(loss[what]), "; ".join(_said(found[what])))
        for what in sorted(found)
    ]
    return Table("", ("fault", "runs", "the loss answers", "announced within 20 steps"), lines)


def _answers(delays: Sequence[int | None]) -> str:
    known = [delay for delay in delays if delay is not None]
    return f"{len(known)}, after {np.median(known):g}" if known else "never"


def _said(delays: Mapping[str, Sequence[int]]) -> list[str]:
    order = sorted(delays, key=lambda kind: (-len(delays[kind]), float(np.median(delays[kind]))))
    return [f"{kind} {len(delays[kind])} (after {np.median(delays[kind]):g})" for kind in order] or [
        "nothing"
    ]
