"""The benchmark's figures, from labelled runs: what is published of the open part, and of the locked one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.alarms.chance import StepOnly, step_only
from benchmarks.alarms.conditional import Conditional, conditional_auc
from benchmarks.alarms.config_only import ConfigOnly, Gain, running_maximum
from benchmarks.alarms.folds import Fold, leave_one_optimizer_out, leave_one_placement_out
from benchmarks.alarms.intervals import Resamples, holm
from benchmarks.alarms.labels import FAILED, Kind, Label, Labels, label_runs
from benchmarks.alarms.methods import Method, Scored, config_only, fixed, kinds, peers, signals, witnesses
from benchmarks.alarms.rules import VARIANTS
from benchmarks.alarms.runs import Run
from benchmarks.alarms.score import HEADLINE, Score
from benchmarks.alarms.scoring import Scorer

NATURAL = ("boundary", "healthy", "deep", "side")
"""Arms whose failures are natural, and which are open."""
PAIRS = (
    ("vanishing_gradient", "attention_logit_growth"),
    ("vanishing_gradient", "activation_blow_up"),
    ("activation_blow_up", "attention_logit_growth"),
    ("entropy_collapse", "activation_blow_up"),
    ("norm_gain_drift", "attention_logit_growth"),
    ("vanishing_gradient", "entropy_collapse"),
)
"""Kinds of which two together, and either, are scored."""
STRONGEST = {
    "share falling": "growth",
    "block gradient falling": "level",
    "first/last gradient": "growth",
    "RMS_t falling": "growth",
    "token spread falling": "level",
    "norm input RMS": "growth",
    "residual RMS": "growth",
    "max logit bound": "growth",
    "entropy rising": "growth",
    "entropy falling": "growth",
    "update ratio": "growth",
    "norm gain": "growth",
    "log Z": "growth",
    "gradient norm": "growth",
    "loss over unigram": "level",
}
"""Signals, each with one rule, that are looked at within settings; named before these runs were scored."""
AT = 40
"""Last step of the early part by which a signal is added to the configuration."""


@dataclass(frozen=True)
class Row:
    """A method and its score."""

    method: Method
    score: Score


@dataclass(frozen=True)
class Study:
    """All that is said of the open runs."""

    runs: Mapping[str, Run]
    labels: Labels
    """Of all runs."""
    natural: Labels
    folds: tuple[Fold, ...]
    rows: tuple[Row, ...]
    by_part: Mapping[str, tuple[Row, ...]]
    """Kinds on parts of the failures: placements, with and without warmup."""
    by_optimizer: tuple[Row, ...]
    """Signals with the optimizers' thresholds held out."""
    step_only: StepOnly
    conditional: Mapping[str, tuple[Conditional, ...]]
    gains: Mapping[str, Gain]
    holm: Mapping[str, float]
    """p values of a gain over chance, for all signals together."""
    variants: Mapping[str, Mapping[str, Score]]
    """Kinds under other labels."""
    spikes: tuple[Row, ...]
    faults: tuple[Row, ...]

    def group(self, *names: str) -> list[Row]:
        """Return the rows of some groups."""
        return [row for row in self.rows if row.method.group in names]


def study(runs: Sequence[Run], scored: Scored) -> Study:
    """Return the figures of the open runs.

    Args:
        runs: All runs; those of the locked arm are left out.
        scored: What was worked out of them.
    """
    opened = [run for run in runs if run.arm != "locked"]
    labels = label_runs(opened)
    natural = {name: label for name, label in labels.items() if label.arm in NATURAL}
    folds = leave_one_placement_out(natural)
    resamples = Resamples.of(natural)
    methods = [
        *kinds(scored),
        *signals(scored, natural, folds),
        *fixed(scored),
        *peers(scored, natural, folds),
    ]
    methods.append(config_only(scored, natural, folds))
    methods += paired(methods)
    rows = score(methods, natural, resamples)
    ours = [row.method for row in rows if row.method.group == "kinds"]
    return Study(
        runs={run.name: run for run in opened},
        labels=labels,
        natural=natural,
        folds=folds,
        rows=rows,
        by_part={name: score(ours, part) for name, part in parts(natural, scored).items()},
        by_optimizer=score(signals(scored, natural, leave_one_optimizer_out(natural)), natural, resamples),
        step_only=step_only(natural, folds, strict=False),
        conditional=conditional(scored, natural),
        gains=gains(scored, natural, folds, resamples),
        holm=holm(
            {row.method.name: row.score.anytime.p[HEADLINE] for row in rows if row.method.group == "signals"}
        ),
        variants=under_variants(opened, ours),
        spikes=score(ours, arm(labels, "repeated")),
        faults=score(ours, arm(labels, "injected")),
    )


def score(methods: Sequence[Method], labels: Labels, resamples: Resamples | None = None) -> tuple[Row, ...]:
    """Return the methods with their scores on some runs."""
    scorer = Scorer(labels, resamples)
    return tuple(Row(each, scorer.score(each.alarms, each.armed, each.lasting)) for each in methods)


def paired(methods: Sequence[Method]) -> list[Method]:
    """Return two witnesses together, and either."""
    by_name = {method.name: method for method in methods}
    return witnesses((by_name[first], by_name[second]) for first, second in PAIRS)


def arm(labels: Labels, name: str) -> dict[str, Label]:
    """Return the labels of one arm."""
    return {run: label for run, label in labels.items() if label.arm == name}


def parts(natural: Labels, scored: Scored) -> dict[str, Labels]:
    """Return the natural runs by placement, and those with and without warmup."""
    found: dict[str, dict[str, Label]] = {}
    for name, label in natural.items():
        warmup = "with warmup" if scored.runs[name].warmup else "without warmup"
        found.setdefault(label.arch, {})[name] = label
        found.setdefault(f"{label.arch}, {warmup}", {})[name] = label
    failing = {part for part, members in found.items() if any(m.kind in FAILED for m in members.values())}
    return {part: found[part] for part in sorted(failing)}


def conditional(scored: Scored, natural: Labels) -> dict[str, tuple[Conditional, ...]]:
    """Return how well each signal's growth tells failing seeds from others of the same setting."""
    # At the edge few runs are healthy by the strict limit: here one that did not fail has held.
    held = {
        name: replace(label, kind=Kind.HEALTHY) if label.kind is Kind.GREY else label
        for name, label in natural.items()
    }
    return {
        name: conditional_auc({run: scored.signal(name, rule)[run] for run in held}, held)
        for name, rule in STRONGEST.items()
    }


def gains(scored: Scored, natural: Labels, folds: Sequence[Fold], resamples: Resamples) -> dict[str, Gain]:
    """Return what each signal's first ``AT`` steps add to what the configuration foretells."""
    model = ConfigOnly([scored.runs[name] for name in natural], natural)
    return {
        name: model.gain(
            folds,
            running_maximum({run: scored.signal(name, rule)[run] for run in natural}, AT),
            AT,
            resamples,
        )
        for name, rule in STRONGEST.items()
    }


def under_variants(runs: Sequence[Run], methods: Sequence[Method]) -> dict[str, dict[str, Score]]:
    """Return the kinds' scores under other thresholds of the labels."""
    found = {}
    for name, rules in VARIANTS.items():
        natural = {run: label for run, label in label_runs(runs, rules).items() if label.arm in NATURAL}
        found[name] = {row.method.name: row.score for row in score(methods, natural)}
    return found
