"""How the runs of a grid ended: what the pictures of a sweep are drawn from. Plain data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_NAMED = 4
"""Values that a sentence names at most."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How one run ended."""

    seed: int
    outcome: str
    """A verdict, or ``crashed``."""
    final_loss: float | None
    """In nats; None where it is not a number."""
    counted_loss: float | None
    """What counts in means: the final loss, or the first one where training ended worse than it began."""
    run: str
    """The run's name."""
    failed: bool
    """Whether it failed: also where it held, but at a loss far above that of others."""

    @property
    def how(self) -> str:
        """How it failed, in a word or two; empty where it did not."""
        if not self.failed:
            return ""
        return "ended high" if self.outcome in ("stable", "recovered") else self.outcome


@dataclass(frozen=True, slots=True)
class Setting:
    """All runs that differ in their seed alone."""

    x: Any
    """Its value on the axis that pictures have from left to right."""
    asked: int
    """Seeds that were asked for."""
    endings: tuple[Ending, ...] = ()
    """The runs that have ended."""

    @property
    def failed(self) -> int:
        """How many of the runs failed."""
        return sum(ending.failed for ending in self.endings)

    @property
    def losses(self) -> list[float]:
        """The losses that count."""
        return [each.counted_loss for each in self.endings if each.counted_loss is not None]

    @property
    def mean_loss(self) -> float | None:
        """Mean over the seeds, or None where there is none."""
        return math.fsum(self.losses) / len(self.losses) if self.losses else None

    @property
    def state(self) -> str:
        """How many of the runs that ended failed: ``absent``, ``held``, ``shaky``, ``some`` or ``all``.

        ``shaky`` is none, but one or more had to recover.
        """
        if not self.endings:
            return "absent"
        if self.failed:
            return "all" if self.failed == len(self.endings) else "some"
        return "shaky" if any(each.outcome == "recovered" for each in self.endings) else "held"

    @property
    def glyph(self) -> str:
        """One sign that says the same without colour; a number where some seeds failed and others held."""
        return {"absent": "", "held": "○", "shaky": "~", "all": "✕"}.get(self.state, str(self.failed))

    @property
    def words(self) -> str:
        """The same in words."""
        if not self.endings:
            return "not done"
        done = len(self.endings)
        kinds = ", ".join(dict.fromkeys(each.how for each in self.endings if each.failed))
        told = f"{self.failed} of {done} failed ({kinds})" if self.failed else f"none of {done} failed"
        recovered = sum(each.outcome == "recovered" and not each.failed for each in self.endings)
        told += f", {recovered} recovered" if recovered else ""
        return told + (f", {self.asked - done} not done" if done < self.asked else "")

    @property
    def telling(self) -> Ending | None:
        """The run to look at first: the first that failed, or else the first."""
        return next((each for each in self.endings if each.failed), next(iter(self.endings), None))


@dataclass(frozen=True, slots=True)
class LandscapeRow:
    """Settings that differ in x alone."""

    names: tuple[str, ...]
    """The values of the other axes, as text."""
    settings: tuple[Setting, ...]
    """One for each x of the landscape."""


@dataclass(frozen=True, slots=True)
class Landscape:
    """A grid of settings: rows of architectures and the like, and one axis from left to right."""

    x_name: str
    """Name of the axis from left to right, such as ``optimizer.lr``."""
    x_values: tuple[Any, ...]
    row_names: tuple[str, ...]
    """Names of the other axes."""
    rows: tuple[LandscapeRow, ...]
    unigram: float | None = None
    """Loss of a model that knows how frequent each token is and nothing else, in nats."""

    def told(self, row: LandscapeRow) -> str:
        """Return one sentence on where a row holds and where it fails."""
        done = [each for each in row.settings if each.endings]
        bad = [each for each in done if each.failed]
        if not done:
            return "nothing is done yet"
        if not bad:
            return f"no run failed, up to {number(done[-1].x)}" if self.is_ordered else "no run failed"
        if len(bad) == len(done):
            every = all(each.state == "all" for each in bad)
            return "every run failed" if every else "some seeds failed everywhere"
        if self.is_ordered:
            held = len(done) - len(bad)
            if done[held:] == bad:
                return f"fails from {number(bad[0].x)} on, holds up to {number(done[held - 1].x)}"
            if done[: len(bad)] == bad:
                return f"fails up to {number(bad[-1].x)}, holds from {number(done[len(bad)].x)} on"
        values = f": {', '.join(number(each.x) for each in bad)}" if len(bad) <= _NAMED else ""
        return f"fails at {len(bad)} of {len(done)}{values}"

    @property
    def is_ordered(self) -> bool:
        """Whether x has an order: more than one number."""
        return len(self.x_values) > 1 and all(map(_is_number, self.x_values))

    @property
    def is_log(self) -> bool:
        """Whether x is on a logarithmic axis."""
        at = self.positions
        return bool(self.is_numeric and min(at) > 0 and max(at) >= 10 * min(at))

    @property
    def is_numeric(self) -> bool:
        """Whether x is on an axis of numbers; zero beside values of several sizes is not."""
        values = self.x_values
        if not self.is_ordered:
            return False
        return bool(min(values) > 0 or max(values) < 10 * min((x for x in values if x > 0), default=1))

    @property
    def positions(self) -> list[float]:
        """Where each x stands: its value, or its place among them where they are no numbers."""
        return (
            [float(x) for x in self.x_values]
            if self.is_numeric
            else list(map(float, range(len(self.x_values))))
        )

    @property
    def loss_range(self) -> tuple[float, float]:
        """The lowest and highest loss that counts, with the unigram entropy; (0, 1) where there is none."""
        losses = [loss for row in self.rows for setting in row.settings for loss in setting.losses]
        losses = [loss for loss in losses if math.isfinite(loss)]
        if not losses:
            return 0.0, 1.0
        known = losses + ([self.unigram] if self.unigram is not None else [])
        low, high = min(known), max(known)
        room = 0.06 * (high - low) or 0.1
        return low - room, high + room


@dataclass(frozen=True, slots=True)
class FailureOrder:
    """What left its band first in runs that failed, by group of runs."""

    groups: tuple[str, ...]
    failing: tuple[int, ...]
    """Runs that failed, by group."""
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    """``kind@site``, or another word, and in how many failing runs of each group it was first. A run in which
    several were at once counts for each."""

    @property
    def most(self) -> int:
        """The largest count."""
        return max((count for _, counts in self.rows for count in counts), default=0)

    @classmethod
    def of(
        cls, firsts: Sequence[tuple[str, Sequence[str]]], groups: Sequence[str], most: int = 12
    ) -> "FailureOrder":
        """Return the order of some failing runs.

        Args:
            firsts: The group of each failing run, and what left its band first there.
            groups: All groups, also those in which no run failed.
            most: Rows at most; what is rarer is added up in one more.
        """
        counted: dict[str, list[int]] = {}
        for group, found in firsts:
            for what in found:
                counted.setdefault(what, [0] * len(groups))[groups.index(group)] += 1
        ordered = sorted(counted.items(), key=lambda item: -sum(item[1]))
        shown, rest = ordered[:most], ordered[most:]
        if rest:
            shown.append(
                (f"{len(rest)} others", [sum(column) for column in zip(*(c for _, c in rest), strict=True)])
            )
        failing = tuple(sum(each == group for each, _ in firsts) for group in groups)
        return cls(tuple(groups), failing, tuple((what, tuple(counts)) for what, counts in shown))


def number(value: Any) -> str:
    """Return a value of an axis as text, numbers with three digits."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def short(name: str) -> str:
    """Return the last word of a field's dotted path: ``optimizer.lr`` is ``lr``."""
    return name.rsplit(".", 1)[-1]


def value_title(name: str, value: Any) -> str:
    """Return a value as it is called: an architecture says what it is, other values do not."""
    return number(value) if name == "arch" else f"{short(name)} {number(value)}"


def row_title(names: Sequence[str], values: Sequence[str]) -> str:
    """Return what a row of settings is called."""
    return " · ".join(map(value_title, names, values)) or "all runs"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
