"""Scores as rows of text, for the terminal and for the page alike."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.detection.families import pooled
from benchmarks.detection.gradients import Found
from benchmarks.detection.left_out import LeftOut
from benchmarks.detection.log import Tool
from benchmarks.detection.traces import Score
from benchmarks.detection.truth import Counts
from benchmarks.detection.unigram import Gain


@dataclass(frozen=True)
class Table:
    """A table of text."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        """Return the table as Markdown, without its title."""
        lines = [self.head, tuple("---" for _ in self.head), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 2) -> str:
    """Return a number as text; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def traces_table(scores: Sequence[Score]) -> Table:
    """Return the main table: one row a tool."""
    rows = []
    for score in scores:
        p, interval = score.pooled, score.pooled["interval_95"]
        f1 = f"{number(p['f1'])} {_interval(interval.get('f1'))}"
        false = f"{number(p['false_per_10k'])} {_interval(interval.get('false_per_10k'))}"
        verdicts = f"{number(p['verdict_accuracy'])} {_interval(interval.get('verdict_accuracy'))}"
        rows.append(
            (
                score.tool.name,
                number(p["recall"]),
                number(p["recall_wide"]),
                number(p["precision"]),
                f1,
                false,
                number(p["median_delay"], 0),
                verdicts,
                str(p["traces"]),
            )
        )
    head = ("rule", "recall", "wide", "precision", "F1", "false / 10k", "delay", "verdicts right", "traces")
    return Table("Traces of public runs", head, rows)


def sources_table(scores: Sequence[Score]) -> Table:
    """Return F1 by source, of sources with five events or more, as the scorer gives it."""
    sources = sorted({source for score in scores for source in score.pooled["f1_by_source"]})
    rows = [
        (score.tool.name, *(number(score.pooled["f1_by_source"].get(source)) for source in sources))
        for score in scores
    ]
    return Table("F1 by source", ("rule", *sources), rows)


def confusion_table(title: str, pairs: Mapping[tuple[str, str], int]) -> Table:
    """Return how runs went against what was said of them."""
    verdicts = ("stable", "recovered", "stuck", "diverged")
    truths = [truth for truth in ("healthy", "spiky", "divergent") if any(t == truth for t, _ in pairs)]
    rows = [(truth, *(str(pairs.get((truth, verdict), 0)) for verdict in verdicts)) for truth in truths]
    return Table(title, ("run", *verdicts), rows)


def families_table(name: str, by_family: dict[str, Counts]) -> Table:
    """Return one tool's counts, one row a family."""
    rows = [(family, *_counts(counts)) for family, counts in by_family.items()]
    rows.append(("all", *_counts(pooled(by_family))))
    head = ("family", "runs", "events", "recall", "precision", "false / 10k", "delay", "verdicts right")
    return Table(f"Made-up runs: {name}", head, rows)


def tools_table(found: dict[str, dict[str, Counts]]) -> Table:
    """Return all tools over all families, one row a tool."""
    rows = [(name, *_counts(pooled(by_family))) for name, by_family in found.items()]
    head = ("rule", "runs", "events", "recall", "precision", "false / 10k", "delay", "verdicts right")
    return Table("Made-up runs, all families", head, rows)


def matrix_table(found: dict[str, dict[str, Counts]], tools: Sequence[Tool]) -> Table:
    """Return the share of runs in which a tool was wholly right, a family a row and a tool a column."""
    short = {tool.name: tool.short for tool in tools}
    names = list(found)
    families = list(found[names[0]])
    rows = [
        (family, *(number(found[n][family].clean / found[n][family].runs) for n in names))
        for family in families
    ]
    head = ("family", *(short[name] for name in names))
    return Table("Share of made-up runs with every event found and no false alarm", head, rows)


def toys_table(found: dict[str, dict[str, Counts]]) -> Table:
    """Return in how many of ten runs each curve was passed, with the delay or the false alarms a run."""
    curves = list(next(iter(found.values())))
    rows = [(name, *(_toy(by_curve[curve]) for curve in curves)) for name, by_curve in found.items()]
    return Table("Six simple curves: runs of ten with all found", ("rule", *curves), rows)


def _toy(counts: Counts) -> str:
    passed = counts.full if counts.events else counts.clean
    notes = [] if math.isnan(counts.median_delay) else [f"{counts.median_delay:.0f} late"]
    notes += [f"{counts.false / counts.runs:.1f} false"] if counts.false else []
    return f"{passed}" + (f" ({'; '.join(notes)})" if notes else "")


def left_out_table(left_out: LeftOut) -> Table:
    """Return what choosing without the source under judgment gives, beside each setting on all sources."""
    low, high = left_out.interval
    rows = [("**chosen without the source**", *_figures(left_out.pooled), f"[{low:.2f}, {high:.2f}]")]
    rows += [(name, *_figures(pooled), "") for name, pooled in left_out.by_settings.items()]
    head = ("settings", "F1", "recall", "precision", "false / 10k", "verdicts right", "interval of F1")
    return Table("Settings chosen with a source left out", head, rows)


def _figures(pooled: dict[str, Any]) -> tuple[str, ...]:
    names = ("f1", "recall", "precision", "false_per_10k", "verdict_accuracy")
    return tuple(number(pooled[name], 3 if name == "f1" else 2) for name in names)


def gains_table(gains: Sequence[Gain]) -> Table:
    """Return each run judged with and without its batches' unigram cross-entropy."""
    rows = [
        (
            f"batch {gain.batch}, seed {gain.seed}",
            *(number(value, 3) for value in gain.noise),
            *(number(value) for value in gain.bump),
            *map(str, gain.found),
            *map(str, gain.incidents),
        )
        for gain in gains
    ]
    head = ("run", "noise with", "without", "largest bump with", "without")
    head += ("found with", "without", "incidents with", "without")
    return Table("Judged with and without the batches' unigram cross-entropy, nats", head, rows)


def gradients_table(found: Mapping[str, Found]) -> Table:
    """Return what the detector of gradient spikes said, one row a kind of series."""
    rows = [
        (
            name,
            str(f.points),
            f"{f.found} of {f.spikes}" if f.spikes else "–",
            number(1e4 * f.alarms / f.points),
            number(1e4 * f.noted / f.points),
        )
        for name, f in found.items()
    ]
    head = ("gradient norms", "points", "jumps found", "false alarms / 10k", "noted / 10k")
    return Table("Gradient norms", head, rows)


def rules_table(tools: Sequence[Tool]) -> Table:
    """Return where each rule is from."""
    return Table("Rules", ("rule", "from", "needs"), [(t.name, t.source, t.needs) for t in tools])


def _counts(counts: Counts) -> tuple[str, ...]:
    return (
        str(counts.runs),
        str(counts.events),
        number(counts.recall),
        number(counts.precision),
        number(counts.false_per_10k),
        number(counts.median_delay, 0),
        number(counts.verdicts_right),
    )


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:.2f}, {interval[1]:.2f}]"
