"""The page of the documents, and the rows that ``explain`` quotes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from benchmarks.alarms.before import check_table
from benchmarks.alarms.decisions import Decision, decisions, kinds_of
from benchmarks.alarms.intervals import Resamples
from benchmarks.alarms.locked import by_novelty, locked_labels, locked_rows, read_limits
from benchmarks.alarms.methods import Scored
from benchmarks.alarms.runs import Run
from benchmarks.alarms.score import HEADLINE, Score
from benchmarks.alarms.study import NATURAL, PAIRS, Row, Study, score, study
from benchmarks.alarms.tables import (
    conditional_table,
    estimate,
    faults_table,
    labels_table,
    parts_table,
    rows_table,
    signals_table,
    spikes_table,
    variants_table,
)
from benchmarks.detection.tables import Table, number
from stabilitykit.detect import measured

TEMPLATE = Path(__file__).with_name("page.md")
SHOWN = (
    "vanishing_gradient, alarms",
    "activation_blow_up, alarms",
    "entropy_collapse",
    "norm_gain_drift",
    "attention_logit_growth",
    "stuck, alarms",
)
"""Kinds of which the page tells part by part."""


def publish(runs: Sequence[Run], scored: Scored, path: Path) -> None:
    """Write the page, and the rows beside the detectors.

    Args:
        runs: All runs, the locked ones too.
        scored: What methods say of them.
        path: Where the page goes.
    """
    found = study(runs, scored)
    by_name = {row.method.name: row for row in found.rows}
    decided = decisions(
        {name: row.method for name, row in by_name.items()},
        {name: row.score for name, row in by_name.items()},
        found.conditional,
        found.natural,
        Resamples.of(found.natural),
    )
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, part in {**_open(found, scored, decided), **_locked(runs, scored)}.items():
        text = text.replace("{" + name + "}", part)
    path.write_text(text, encoding="utf-8")
    _write_rows(found, decided)


def _open(found: Study, scored: Scored, decided: Sequence[Decision]) -> dict[str, str]:
    alarms = kinds_of(decided)
    parts = {arm: [run for run in found.runs.values() if run.arm == arm] for arm in NATURAL}
    steps = found.step_only
    return {
        "runs": str(len(found.runs)),
        "natural": str(len(found.natural)),
        "failures": str(sum(len(label.events) for label in found.natural.values())),
        "labels_table": labels_table(found.labels).markdown(),
        "kinds_table": rows_table(found.group("kinds"), "kind").markdown(),
        "decisions_table": decisions_table(decided).markdown(),
        "parts_table": parts_table(found.by_part, SHOWN).markdown(),
        "signals_table": signals_table(found.group("signals"), found.holm).markdown(),
        "optimizers_table": signals_table(_best(found.by_optimizer), found.holm).markdown(),
        "fixed_table": rows_table(found.group("fixed"), "rule").markdown(),
        "baselines_table": rows_table(found.group("baselines", "peers"), "rule").markdown(),
        "step_only": f"{number(steps.recall[HEADLINE])} at {number(steps.per_thousand)} false alarms",
        "conditional_table": conditional_table(found.conditional, found.gains).markdown(),
        "witnesses_table": rows_table(found.group("witnesses"), "witnesses").markdown(),
        "pairs": str(len(PAIRS)),
        "variants_table": variants_table(found.variants, SHOWN).markdown(),
        "spikes_table": spikes_table(found.spikes).markdown(),
        "faults_table": faults_table(found.labels, found.runs, scored).markdown(),
        "alarms": ", ".join(name.removesuffix(", alarms") for name in alarms),
        "check_table": check_table(parts, found.labels).markdown(),
    }


def _best(rows: Sequence[Row], most: int = 8) -> list[Row]:
    return sorted(rows, key=lambda row: -(row.score.headline.value or 0))[:most]


def _locked(runs: Sequence[Run], scored: Scored) -> dict[str, str]:
    labels = locked_labels(runs)
    limits = read_limits()
    rows = locked_rows(scored, labels, limits)
    ours = [row.method for row in rows if row.method.group == "kinds"]
    parts = by_novelty(scored, labels)
    p = dict.fromkeys(limits, math.nan)
    return {
        "locked": str(len(labels)),
        "locked_labels_table": labels_table(labels).markdown(),
        "locked_kinds_table": rows_table(
            [row for row in rows if row.method.group == "kinds"], "kind"
        ).markdown(),
        "locked_signals_table": signals_table(
            [row for row in rows if row.method.group == "signals"], p
        ).markdown(),
        "locked_fixed_table": rows_table(
            [row for row in rows if row.method.group == "fixed"], "rule"
        ).markdown(),
        "locked_parts_table": parts_table(
            {name: score(ours, part) for name, part in parts.items()},
            [name for name in SHOWN if name in {method.name for method in ours}],
        ).markdown(),
        "locked_check_table": check_table(
            {name: [scored.runs[run] for run in part] for name, part in parts.items()}, labels
        ).markdown(),
    }


def decisions_table(decided: Sequence[Decision]) -> Table:
    """Return what each kind has earned, and what it does."""
    head = (
        "kind",
        "false / 1,000",
        "healthy flagged",
        "recall less chance",
        "less that of the loss",
        "seeds told apart",
        "has earned it",
        "alarms",
    )
    return Table(
        "",
        head,
        [
            (
                each.kind,
                estimate(each.false),
                number(each.flagged.value, 3),
                estimate(each.gain),
                estimate(each.over_loss),
                "–" if each.auc is None else estimate(each.auc),
                "yes" if each.earned else "no",
                "yes" if each.alarms else "no",
            )
            for each in decided
        ],
    )


def _write_rows(found: Study, decided: Sequence[Decision]) -> None:
    scores = {row.method.name: row.score for row in found.rows}
    healthy = sum(label.kind == "healthy" for label in found.natural.values())
    rows = {
        each.kind: _row(scores[f"{each.kind}, alarms" if each.alarms else each.kind], healthy)
        for each in decided
    }
    text = yaml.safe_dump({"kinds": rows}, sort_keys=False, default_flow_style=None, width=120)
    origin = (
        "# How each kind did on the runs of docs/benchmark.md: made by benchmarks/alarms/early_warning.py.\n"
    )
    Path(measured.__file__).with_name(measured.FILE).write_text(origin + text, encoding="utf-8")


def _row(score: Score, healthy: int) -> Mapping[str, object]:
    recall, false = score.anytime, score.healthy.per_thousand
    median = recall.lead.median
    return {
        "events": score.events,
        "healthy_runs": healthy,
        "recall": {lead: round(recall.share[lead].value or 0.0, 3) for lead in (1, 5, 20)},
        "chance": round(recall.chance[HEADLINE], 3),
        "lead": float(median) if math.isfinite(median) else None,
        "false_per_thousand": [round(each or 0.0, 3) for each in (false.value, false.low, false.high)],
        "flagged": round(score.flagged.value or 0.0, 3),
    }
