"""Growth of a statistic at any of its sites, against the site's own recent past."""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.detector import Detector, Row, SiteColumns, log_row
from stabilitykit.detect.extremes import Extremes
from stabilitykit.detect.rolling import RowWindow, Streak
from stabilitykit.records import Finding, Severity, StepRecord

_NOTHING = 1e-12
"""What falls below this is gone; zero has no logarithm."""


class Growth(Detector):
    """Base of detectors that compare a smoothed log level with the same level some steps ago.

    Smoothed is the median of the last ``SMOOTH`` values. A site leaves its band when its smoothed value has
    grown (or fallen) by more than ``factor`` within ``LAG`` steps, ``IN_A_ROW`` times in a row; armed from
    step ``ARMED``. While it is out, its reference stays where it was: flagged values are not admitted. A
    level that holds for ``FORGET`` steps becomes the new reference.

    Args:
        factor: Growth that counts, above 1.
    """

    statistics: ClassVar[tuple[str, ...]]
    """Families of tags that are looked at."""
    SMOOTH: ClassVar[int] = 5
    LAG: ClassVar[int] = 20
    ARMED: ClassVar[int] = 8
    IN_A_ROW: ClassVar[int] = 3
    FORGET: ClassVar[int] = 200

    def __init__(self, factor: float, **settings: float) -> None:
        super().__init__(factor=factor, **settings)
        self._limit = math.log(factor)
        self._limits: Row = np.empty(0)
        self._columns = SiteColumns(*self.statistics)
        self._recent = RowWindow(self.SMOOTH)
        self._past = RowWindow(self.LAG)
        self._streak = Streak()
        self._extremes = Extremes(block=self.LAG, blocks=15, spare=5, stretch=2.0, before=1.0)
        self._seen = 0

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding for each site out of its band, the first to leave first."""
        row = self._columns.row(record)
        if not row.size:
            return []
        smooth = self._smooth(row)
        reference = self._reference(smooth)
        self._seen += 1
        limit = self._extremes.limit if row.size > 1 else 1.0
        holds = self._holds(smooth, reference, limit)
        self._streak.update(record.step, holds)
        if not holds.any():
            self._past.push(smooth)
            return []
        self._past.push(np.where(holds & (self._streak.length < self.FORGET), reference, smooth))
        places = np.flatnonzero(self._streak.length >= self.IN_A_ROW).tolist()
        band = reference + self.direction * limit * self._limits
        return [
            self._finding(record.step, place, *map(math.exp, (smooth[place], reference[place], band[place])))
            for place in sorted(places, key=self._streak.since)
        ]

    def _smooth(self, row: Row) -> Row:
        if self.direction < 0:
            row = np.maximum(row, _NOTHING)
        self._recent.push(log_row(row))
        return self._recent.median()

    def _reference(self, smooth: Row) -> Row:
        """Return the level some steps ago; a site without a past is its own."""
        if not len(self._past):
            return smooth
        self._past.widen(smooth.size)
        reference = self._past.oldest
        return np.where(np.isnan(reference), smooth, reference)

    def _holds(self, smooth: Row, reference: Row, limit: float) -> NDArray[np.bool_]:
        """Return where a site is outside its band, and remember how far the farthest one is.

        A comparison with NaN is false. A level that has only come back from a short dip is no growth: it
        must also stand a quarter of its limit beyond the median of the past.
        """
        if self._seen <= self.ARMED:
            return np.zeros(smooth.size, dtype=bool)
        limits = self._limits_of_sites()
        growth = self.direction * (smooth - reference) / limits
        holds: NDArray[np.bool_] = growth > limit
        if holds.any():
            usual = self._past.median()
            holds &= self.direction * (smooth - usual) > 0.25 * limits
            holds &= self._also(np.exp(smooth))
            growth[holds] = limit
        self._extremes.push(float(np.fmax.reduce(growth)))
        return holds

    def _limits_of_sites(self) -> Row:
        """Return the log growth that counts at each site, worked out when sites appear."""
        if self._limits.size != len(self._columns.tags):
            self._limits = np.array([self._limit_at(site) for site in self._columns.sites])
        return self._limits

    def _limit_at(self, site: str) -> float:
        """Return the log growth that counts at a site; by default the same at all."""
        return self._limit

    def _also(self, level: Row) -> NDArray[np.bool_]:
        """Return where a second condition holds that a site must meet; by default everywhere."""
        return np.ones(level.size, dtype=bool)

    def _finding(self, step: int, place: int, value: float, reference: float, band: float) -> Finding:
        since = self._streak.since(place)
        site = self._columns.sites[place]
        return Finding(
            self.kind,
            site,
            step,
            since,
            value,
            self._threshold(band),
            self._severity(site, value, reference),
            self._message(site, value, reference, since),
        )

    def _threshold(self, band: float) -> float:
        """Return the value beyond which the site is out, given the edge of its own band."""
        return band

    def _severity(self, site: str, value: float, reference: float) -> Severity:
        return Severity.INFO

    @abstractmethod
    def _message(self, site: str, value: float, reference: float, since: int) -> str:
        """Return what is said of a site: the numbers and what they mean."""

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {
            "tags": list(self._columns.tags),
            "recent": self._recent.state_dict(),
            "past": self._past.state_dict(),
            "streak": self._streak.state_dict(),
            "extremes": self._extremes.state_dict(),
            "seen": self._seen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self._columns.load(state["tags"])
        self._limits = np.empty(0)
        self._recent.load_state_dict(state["recent"])
        self._past.load_state_dict(state["past"])
        self._streak.load_state_dict(state["streak"])
        self._extremes.load_state_dict(state["extremes"])
        self._seen = state["seen"]
