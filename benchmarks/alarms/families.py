"""What a run is measured against: the best and the healthy of its family, or of a wider group."""

from collections import defaultdict
from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.alarms.curves import Curve, Trained
from benchmarks.alarms.rules import Rules


def _task(run: Trained) -> Hashable:
    return repr(run.config.get("data")), len(run.steps)


GROUPS: Mapping[str, Callable[[Trained], Hashable]] = {
    "family": lambda run: run.family,
    "placement and depth": lambda run: (run.arch, run.n_layers, _task(run)),
    "placement": lambda run: (run.arch, _task(run)),
    "depth": lambda run: (run.n_layers, _task(run)),
    "task": _task,
}
"""Ever wider groups; only runs of the same data and number of steps are ever compared."""


@dataclass(frozen=True)
class Best:
    """The lowest final loss of a group."""

    excess: float
    """Less the unigram cross-entropy, in nats."""
    loss: float
    group: str
    """Which of ``GROUPS`` it is of."""


class Groups:
    """Runs by each of ``GROUPS``.

    Args:
        curves: Runs that may be compared; those with injected faults do not belong here.
        rules: How many rates and healthy runs a group needs.
    """

    def __init__(self, curves: Sequence[Curve], rules: Rules) -> None:
        self._rules = rules
        self._members: dict[tuple[str, Hashable], list[Curve]] = defaultdict(list)
        for curve in curves:
            for name, key in GROUPS.items():
                self._members[name, key(curve.run)].append(curve)

    def best(self, run: Trained) -> Best:
        """Return the lowest final loss that can be asked of a run.

        It is that of its family, if enough learning rates were tried there or it is healthy by the best of
        the narrowest wider group with enough of them; else that group's.
        """
        own = self._best("family", run)
        for name in GROUPS:
            if len({each.run.lr for each in self._of(name, run)}) >= self._rules.least_rates:
                wide = self._best(name, run)
                return own if own.excess - wide.excess <= self._rules.healthy else wide
        return own

    def healthy(self, run: Trained, healthy: Container[str]) -> tuple[str, list[Curve]]:
        """Return the healthy runs, best first, of the narrowest group with enough of them; else none.

        Args:
            run: For which.
            healthy: Names of the healthy runs.

        Returns:
            The group's name, and the runs.
        """
        for name in GROUPS:
            members = [each for each in self._of(name, run) if each.run.name in healthy]
            if len(members) >= self._rules.least_healthy:
                return name, sorted(members, key=lambda each: each.final)
        return "", []

    def _of(self, name: str, run: Trained) -> list[Curve]:
        return self._members[name, GROUPS[name](run)]

    def _best(self, name: str, run: Trained) -> Best:
        members = self._of(name, run)
        return Best(min(each.final for each in members), min(each.final_loss for each in members), name)
