"""Which runs a threshold may be chosen on, and which it is then judged on."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from benchmarks.alarms.labels import Label, Labels


@dataclass(frozen=True)
class Fold:
    """A split of the runs by name."""

    name: str
    """What is held out."""
    train: frozenset[str]
    held_out: frozenset[str]


def leave_one_out(labels: Labels, key: Callable[[Label], Hashable]) -> tuple[Fold, ...]:
    """Return a fold for each value of a key, in which the runs with that value are held out.

    Args:
        labels: Of all runs that are scored.
        key: Must be the same for all runs of a family, so that the seeds and rates of a configuration stay
            together.

    Raises:
        ValueError: If a family would be split, or there is one value alone and nothing to choose on.
    """
    values = {label.name: key(label) for label in labels.values()}
    by_family: dict[Hashable, Hashable] = {}
    for label in labels.values():
        if by_family.setdefault(label.family, values[label.name]) != values[label.name]:
            raise ValueError(f"{label.name}: its family has runs in two folds")
    folds = sorted(set(values.values()), key=str)
    if len(folds) < 2:
        raise ValueError(f"all runs have {folds}: nothing to choose a threshold on; leave out something else")
    return tuple(
        Fold(
            str(held),
            frozenset(name for name, value in values.items() if value != held),
            frozenset(name for name, value in values.items() if value == held),
        )
        for held in folds
    )


def leave_one_placement_out(labels: Labels) -> tuple[Fold, ...]:
    """Return a fold for each placement of norms."""
    return leave_one_out(labels, lambda label: label.arch)


def leave_one_optimizer_out(labels: Labels) -> tuple[Fold, ...]:
    """Return a fold for each optimizer."""
    return leave_one_out(labels, lambda label: label.optimizer)
