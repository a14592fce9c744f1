"""Everything that is scored: the product's kinds, signals, fixed rules, peers and baselines, as alarms."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.alarms.announcing import Alarms, Scores, alarms, both, either
from benchmarks.alarms.config_only import ConfigOnly
from benchmarks.alarms.fixed import FIXED
from benchmarks.alarms.folds import Fold
from benchmarks.alarms.kinds import Told, told
from benchmarks.alarms.labels import Labels
from benchmarks.alarms.peers import PEERS
from benchmarks.alarms.peers import SCORES as PEER_SCORES
from benchmarks.alarms.runs import Run
from benchmarks.alarms.score import HEADLINE
from benchmarks.alarms.series import RULES
from benchmarks.alarms.signals import SIGNALS, scores_of
from benchmarks.alarms.thresholds import calibrate
from stabilitykit.records import KINDS, Severity

LOSS_ONLY = ("loss", "loss over unigram")
"""Signals that know nothing but the loss."""


@dataclass(frozen=True)
class Method:
    """One method's alarms in every run."""

    name: str
    group: str
    """``kinds``, ``signals``, ``fixed``, ``peers``, ``baselines`` or ``witnesses``."""
    alarms: Mapping[str, Alarms]
    """By the run's name."""
    lasting: bool = False
    """Whether the alarms are all steps in alarm, or only announcements."""
    armed: Mapping[str, int] | int = 0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """What was chosen, by the fold that it was held to; none where a method brings its own."""
    rules: Mapping[str, str] = field(default_factory=dict)
    """Which rule was chosen, by fold, where a signal has several."""


class Scored:
    """What methods say of the runs, worked out once: scores, findings."""

    def __init__(self, runs: Sequence[Run], tick: Callable[[], None] = lambda: None) -> None:
        """Replay detectors and compute scores.

        Args:
            runs: All that are scored.
            tick: Called once a run.
        """
        self.runs = {run.name: run for run in runs}
        self.told: dict[str, Told] = {}
        self._signals: dict[str, Mapping[tuple[str, str], Scores]] = {}
        self._peers: dict[str, Mapping[str, Scores]] = {}
        for run in runs:
            self.told[run.name] = told(run)
            self._signals[run.name] = {(name, str(rule)): s for (name, rule), s in scores_of(run).items()}
            self._peers[run.name] = {name: score(run) for name, score in PEER_SCORES.items()}
            tick()

    def signal(self, name: str, rule: str) -> dict[str, Scores]:
        """Return a signal's score in every run, by one of its rules."""
        return {run: scores[name, rule] for run, scores in self._signals.items()}

    def peer(self, name: str) -> dict[str, Scores]:
        """Return a peer's score in every run."""
        return {run: scores[name] for run, scores in self._peers.items()}

    def kind(self, kind: str, at_least: Severity) -> dict[str, Alarms]:
        """Return what the product announces of a kind, in every run."""
        return {run: said.alarms(kind, at_least) for run, said in self.told.items()}


def kinds(scored: Scored) -> list[Method]:
    """Return every kind of finding, of any severity, and those that alarm as they do in the product."""
    found = []
    for kind in KINDS:
        whole, warned = scored.kind(kind, Severity.INFO), scored.kind(kind, Severity.WARNING)
        found.append(Method(kind, "kinds", whole))
        if any(len(steps) for steps in warned.values()):
            found.append(Method(f"{kind}, alarms", "kinds", warned))
    return found


def signals(scored: Scored, labels: Labels, folds: Sequence[Fold]) -> list[Method]:
    """Return every signal with the rule and the threshold that are best without the runs held out."""
    return [signal(scored, labels, folds, name) for name in SIGNALS]


def signal(scored: Scored, labels: Labels, folds: Sequence[Fold], name: str) -> Method:
    """Return one signal; its rule is the one that warns of most events of the training runs."""
    by_rule = {rule: {run: scored.signal(name, rule)[run] for run in labels} for rule in RULES}
    calibrated = {rule: calibrate(scores, labels, folds) for rule, scores in by_rule.items()}
    found: dict[str, Alarms] = {}
    armed: dict[str, int] = {}
    rules, thresholds = {}, {}
    for place, fold in enumerate(folds):
        limits = {rule: calibrated[rule].chosen[place].threshold for rule in RULES}
        train = {run: labels[run] for run in fold.train}
        rule = max(RULES, key=lambda each: warned(by_rule[each], limits[each], train))
        rules[fold.name], thresholds[fold.name] = rule, limits[rule]
        for run in fold.held_out:
            found[run], armed[run] = calibrated[rule].alarms[run], calibrated[rule].armed[run]
    return Method(name, "signals", found, lasting=True, armed=armed, thresholds=thresholds, rules=rules)


def warned(scores: Mapping[str, Scores], threshold: float, labels: Labels) -> int:
    """Return how many events a score warns of at the headline's lead."""
    count = 0
    for run, label in labels.items():
        for event in label.events:
            steps = alarms(scores[run], threshold)
            count += bool(np.any((steps >= event.since) & (steps <= event.onset - HEADLINE)))
    return count


def fixed(scored: Scored) -> list[Method]:
    """Return the rules with a limit of their own."""
    return [
        Method(name, "fixed", {run.name: rule(run) for run in scored.runs.values()})
        for name, rule in FIXED.items()
    ]


def peers(scored: Scored, labels: Labels, folds: Sequence[Fold]) -> list[Method]:
    """Return the rules of peers with their own limits, and those that are calibrated like ours."""
    found = [
        Method(name, "peers", {run.name: rule(run) for run in scored.runs.values()})
        for name, rule in PEERS.items()
    ]
    for name in PEER_SCORES:
        scores = {run: scored.peer(name)[run] for run in labels}
        found.append(_calibrated(name, "baselines", scores, labels, folds))
    return found


def config_only(scored: Scored, labels: Labels, folds: Sequence[Fold]) -> Method:
    """Return what the configuration alone foretells."""
    model = ConfigOnly([scored.runs[name] for name in labels], labels)
    return _calibrated("configuration only", "baselines", model.scores, labels, folds)


def witnesses(pairs: Iterable[tuple[Method, Method]]) -> list[Method]:
    """Return for each pair both together, and either of the two."""
    found = []
    for first, second in pairs:
        runs = first.alarms.keys() & second.alarms.keys()
        for word, join in (("and", both), ("or", either)):
            joined = {run: join(first.alarms[run], second.alarms[run]) for run in runs}
            found.append(Method(f"{first.name} {word} {second.name}", "witnesses", joined))
    return found


def _calibrated(
    name: str,
    group: str,
    scores: Mapping[str, Scores] | Callable[[Fold], Mapping[str, Scores]],
    labels: Labels,
    folds: Sequence[Fold],
) -> Method:
    done = calibrate(scores, labels, folds)
    limits = {each.fold: each.threshold for each in done.chosen}
    return Method(name, group, done.alarms, lasting=True, armed=done.armed, thresholds=limits)
