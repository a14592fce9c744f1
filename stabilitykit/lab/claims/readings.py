"""Measures of a run's readings: which sites, which steps, and what becomes of them."""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Self

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field, model_validator

from stabilitykit.errors import closest
from stabilitykit.lab.claims.evidence import Evidence, Series
from stabilitykit.lab.claims.measures import Averaging
from stabilitykit.lab.sweep.grid import SweepRun
from stabilitykit.lab.validation import Config, refusal
from stabilitykit.tags import REGISTRY, select, split

_END = 0.05
"""Part of the steps that ``end`` is the mean of, as the final loss is."""
_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)")
_OF_SITES: dict[str, Callable[[Float[np.ndarray, "steps sites"]], Float[np.ndarray, "steps"]]] = {
    "max": lambda values: values.max(axis=1),
    "min": lambda values: values.min(axis=1),
    "mean": lambda values: values.mean(axis=1),
    "first": lambda values: values[:, 0],
    "last": lambda values: values[:, -1],
}
_OF_STEPS: dict[str, Callable[[Float[np.ndarray, "steps"]], float]] = {
    "first": lambda values: float(values[0]),
    "last": lambda values: float(values[-1]),
    "end": lambda values: float(values[-max(1, round(_END * len(values))) :].mean()),
    "max": lambda values: float(values.max()),
    "min": lambda values: float(values.min()),
    "mean": lambda values: float(values.mean()),
    "median": lambda values: float(np.median(values)),
}


class SiteReading(Config):
    """One number a step: a statistic, over some of the sites where it is read."""

    reading: str
    """``<family>/<statistic>``, such as ``attn/logit_max``."""
    sites: str | None = None
    """``max``, ``min``, ``mean``, ``first`` or ``last`` of the blocks in order of depth, two of these as a
    ratio such as ``first/last``, or the name of a site such as ``head``. Required where there are several."""
    among: str | None = None
    """Pattern of the sites of which, such as ``*.resid_post``; those in blocks unless given."""
    power: float = Field(1.0, gt=0)
    """Readings are raised to it first."""

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.reading not in REGISTRY:
            raise refusal("reading", f"got {self.reading!r}; {closest(self.reading, REGISTRY)}")
        has_sites = bool(REGISTRY[self.reading].sites)
        if has_sites and self.sites is None:
            raise refusal(
                "sites", f"is required, {self.reading} has several; accepted: {', '.join(_OF_SITES)}"
            )
        if not has_sites and (self.sites is not None or self.among is not None):
            raise refusal("sites", f"got {self.sites or self.among!r}; {self.reading} has no sites")
        return self

    @property
    def is_ratio_of_sites(self) -> bool:
        """Whether some sites are divided by others."""
        return len(_words(self.sites)) == 2

    def series(self, evidence: Evidence, run: SweepRun) -> Series:
        """Return a number for each step at which all of the sites were read; empty where that is nowhere.

        Numbers that are not finite are left out: a run that ends in NaN is measured up to there.
        """
        columns = [evidence.series(run, tag) for tag in self._tags(evidence.tags(run))]
        if not columns:
            return Series(np.empty(0, np.int64), np.empty(0))
        steps = columns[0].steps
        for column in columns[1:]:
            steps = np.intersect1d(steps, column.steps, assume_unique=True)
        rows = [column.values[np.searchsorted(column.steps, steps)] for column in columns]
        with np.errstate(all="ignore"):
            found = [
                _OF_SITES[word](np.stack(rows, axis=1) ** self.power)
                for word in _words(self.sites) or ("mean",)
            ]
            numbers = found[0] / found[1] if len(found) == 2 else found[0]
        finite = np.isfinite(numbers)
        return Series(steps[finite], numbers[finite])

    def _tags(self, tags: Iterable[str]) -> list[str]:
        found = select(tags, self.reading)
        if self.sites is None:
            return list(found)
        if not _words(self.sites):
            return [tag for tag in found if fnmatchcase(split(tag)[1], self.sites)]
        if self.among is not None:
            pattern = self.among
            return sorted((tag for tag in found if fnmatchcase(split(tag)[1], pattern)), key=_depth)
        return sorted((tag for tag in found if _BLOCK.search(split(tag)[1])), key=_depth)


class Reading(SiteReading):
    """One number of a run: a statistic over sites, then over steps."""

    steps: int | str = "end"
    """``first``, ``last``, ``end`` (mean of the last 5 %), ``max``, ``min``, ``mean``, ``median`` or a step's
    number; two of these as a ratio such as ``last/first``."""
    between: tuple[int, int] | None = None
    """First and last step that count; all unless given."""

    @model_validator(mode="after")
    def _has_known_steps(self) -> Self:
        if not _words(str(self.steps), _is_step):
            raise refusal(
                "steps", f"got {self.steps!r}; {closest(str(self.steps), _OF_STEPS)}, or a step's number"
            )
        if self.between is not None and self.between[0] > self.between[1]:
            raise refusal("between", f"got {list(self.between)}; must be the first and the last step")
        return self

    @property
    def averaging(self) -> Averaging:
        """Ratios are averaged in the logarithm."""
        is_ratio = self.is_ratio_of_sites or len(_words(str(self.steps), _is_step)) == 2
        return "log" if is_ratio else "linear"

    @property
    def unit(self) -> str:
        """Of the statistic, where the number is still one of it."""
        return REGISTRY[self.reading].unit if self.averaging == "linear" and self.power == 1 else ""

    def of(self, evidence: Evidence, run: SweepRun) -> float | None:
        """Return the number, or None where there is no reading for it."""
        steps, values = self.series(evidence, run)
        if self.between is not None:
            inside = (steps >= self.between[0]) & (steps <= self.between[1])
            steps, values = steps[inside], values[inside]
        found = [_over_steps(word, steps, values) for word in _words(str(self.steps), _is_step)]
        if None in found:
            return None
        above, below = (found[0] or 0.0), (found[-1] or 0.0)
        if len(found) == 1:
            return above
        return above / below if below else None


def _over_steps(word: str, steps: Int[np.ndarray, "n"], values: Float[np.ndarray, "n"]) -> float | None:
    if word in _OF_STEPS:
        return _OF_STEPS[word](values) if len(values) else None
    at = np.flatnonzero(steps == int(word))
    return float(values[at[0]]) if len(at) else None


def _words(text: str | None, is_word: Callable[[str], bool] = _OF_SITES.__contains__) -> tuple[str, ...]:
    """Return the one word of a text, or the two of a ratio; none where one is not known."""
    words = tuple((text or "").split("/"))
    return words if len(words) <= 2 and all(map(is_word, words)) else ()


def _is_step(word: str) -> bool:
    return word in _OF_STEPS or word.isdecimal()


def _depth(tag: str) -> tuple[int, ...]:
    """Return a tag's block: ten comes after nine however it is written; inside a block order stays."""
    found = _BLOCK.search(split(tag)[1])
    return (int(found[1]),) if found else (-1,)
