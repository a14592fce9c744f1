"""Where two runs part: in what they were asked, in the first bit, and by more than a few per cent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stabilitykit.tags import split

APART = 0.05
"""Share of the larger value by which two readings differ that are apart."""
IN_A_ROW = 3
"""Shared steps in a row for which they must be."""

Column = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Steps, rising, and the values read at them."""

_FORWARD = ("act/", "attn/", "output/", "train/", "grad/", "optim/grad_norm", "optim/", "norm/")
"""Families in the order in which a step works them out; gains are read after the step."""
_UNTOLD = ("schema_version",)


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """A reading that is not the same in both runs."""

    step: int
    tag: str
    a: float
    b: float


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two runs part."""

    config: tuple[tuple[str, Any, Any], ...]
    """Fields that differ, by their dotted path, with both values; None where one has no such field."""
    shared_steps: int
    shared_tags: int
    first: tuple[FirstDifference, ...]
    """What differs at the first step at which anything does, in forward order; empty where nothing does."""
    apart: tuple[FirstDifference, ...]
    """Of each family of readings the first that is apart for three shared steps, in the order of time."""


def parting(
    tags: Sequence[str],
    a: Callable[[str], Column],
    b: Callable[[str], Column],
    config_a: Mapping[str, Any] | None = None,
    config_b: Mapping[str, Any] | None = None,
) -> Parting:
    """Return where two runs part.

    Args:
        tags: Readings that both have, in the order of the first run.
        a: Gives the first run's readings of a tag.
        b: Gives the second run's.
        config_a: What the first run was asked to do, where that is known.
        config_b: What the second run was asked to do.
    """
    steps: set[int] = set()
    different: list[FirstDifference] = []
    apart: dict[str, FirstDifference] = {}
    for tag in sorted(tags, key=_forward):
        shared, left, right = _shared(a(tag), b(tag))
        steps.update(shared.tolist())
        if found := _first(shared, left, right, tag, _differ(left, right)):
            different.append(found)
        far = _first(shared, left, right, tag, _lasting(_distance(left, right) > APART))
        family = split(tag)[0]
        if far and (family not in apart or far.step < apart[family].step):
            apart[family] = far
    earliest = min((each.step for each in different), default=None)
    return Parting(
        config=tuple(_config(config_a or {}, config_b or {})),
        shared_steps=len(steps),
        shared_tags=len(tags),
        first=tuple(each for each in different if each.step == earliest),
        apart=tuple(sorted(apart.values(), key=lambda each: each.step)),
    )


def _forward(tag: str) -> int:
    """Return a key by which tags are in the order in which a step works them out; sites keep theirs."""
    return next((at for at, prefix in enumerate(_FORWARD) if tag.startswith(prefix)), len(_FORWARD))


def _shared(a: Column, b: Column) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    steps, at_a, at_b = np.intersect1d(a[0], b[0], return_indices=True)
    return steps, a[1][at_a].astype(np.float64), b[1][at_b].astype(np.float64)


def _differ(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where two series are not the same; NaN is the same as NaN."""
    found: NDArray[np.bool_] = (a != b) & ~(np.isnan(a) & np.isnan(b))
    return found


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the difference as a share of the larger value; infinite where one alone is not finite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        larger = np.maximum(np.abs(a), np.abs(b))
        share = np.abs(a - b) / np.where(larger > 0, larger, 1.0)
    odd = ~np.isfinite(a) | ~np.isfinite(b)
    found: NDArray[np.float64] = np.where(odd, np.where(_differ(a, b), np.inf, 0.0), share)
    return found


def _lasting(apart: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a stretch of enough steps in a row begins."""
    if len(apart) < IN_A_ROW:
        return np.zeros(len(apart), bool)
    windows = np.lib.stride_tricks.sliding_window_view(apart, IN_A_ROW).all(axis=1)
    return np.concatenate([windows, np.zeros(IN_A_ROW - 1, bool)])


def _first(
    steps: NDArray[np.int64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    tag: str,
    where: NDArray[np.bool_],
) -> FirstDifference | None:
    if not where.any():
        return None
    at = int(where.argmax())
    return FirstDifference(int(steps[at]), tag, float(a[at]), float(b[at]))


def _config(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    flat_a, flat_b = dict(_flat(a)), dict(_flat(b))
    for name in dict.fromkeys([*flat_a, *flat_b]):
        if name not in _UNTOLD and flat_a.get(name) != flat_b.get(name):
            yield name, flat_a.get(name), flat_b.get(name)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
