"""Growth of a statistic at any of its sites, against the site's own recent past."""

import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.detector import Detector, Row, SiteColumns, log_row, widened
from stabilitykit.detect.extremes import Extremes
from stabilitykit.detect.rolling import RowWindow, Streak
from stabilitykit.records import Finding, Severity, StepRecord

_NOTHING = 1e-12
"""What falls below this is gone; zero has no logarithm."""

_NONE: Row = np.empty(0)


class Growth(Detector):
    """Base of detectors that compare a smoothed log level with the same level some records ago.

    Smoothed is the median of the last ``SMOOTH`` values. A site leaves its band when its smoothed value has
    grown (or fallen) by more than ``factor`` within ``LAG`` records, ``IN_A_ROW`` times in a row; armed from
    record ``ARMED``. Growth that many records of the run have shown is none: of several sites, the farthest
    out must also be beyond what the farthest of them usually is (``Extremes``).

    While a site is out, it is compared with the level that it left. One that has stayed out for ``FORGET``
    records is compared with its past again.

    Args:
        limit: Growth of the logarithm that counts, above 0.
        settings: What the limits were made from.
    """

    state: ClassVar[tuple[str, ...]] = ("columns", "recent", "past", "left", "streak", "extremes", "seen")
    VIEWS: ClassVar[int] = 1
    """Rows that are made of one: two where both directions are looked at."""
    SMOOTH: ClassVar[int] = 5
    LAG: ClassVar[int] = 20
    ARMED: ClassVar[int] = 8
    IN_A_ROW: ClassVar[int] = 3
    FORGET: ClassVar[int] = 200

    def __init__(self, limit: float, **settings: float) -> None:
        super().__init__(**settings)
        self._limit = limit
        self._limits: Row = np.empty(0)
        self._columns = SiteColumns(*self.statistics)
        self._recent = RowWindow(self.SMOOTH)
        self._past = RowWindow(self.LAG)
        self._left = _NONE
        """The level that each site left when it went out, NaN where it is not out; empty where none is."""
        self._streak = Streak()
        self._extremes = Extremes(self.LAG // 2, blocks=30, spare=10, stretch=2.0, before=1.0, fresh=2)
        self._seen = 0

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding for each site out of its band, the first to leave first."""
        row = self._columns.row(record)
        if not row.size:
            return []
        self._recent.push(self._logs(row))
        smooth = self._recent.median()
        reference = self._reference(smooth)
        self._seen += 1
        bar = self._bar(row.size)
        holds = self._holds(smooth, reference, bar)
        self._streak.update(record.step, holds)
        if not holds.any():
            self._left = _NONE
            self._past.push(smooth)
            return []
        found = self._findings(record.step, smooth, reference, bar)
        self._left = np.where(holds & (self._streak.length < self.FORGET), reference, math.nan)
        self._past.push(smooth)
        return found

    def _findings(self, step: int, smooth: Row, reference: Row, bar: Row | float) -> list[Finding]:
        band = reference + self.direction * bar * self._limits
        places = np.flatnonzero(self._streak.length >= self.IN_A_ROW).tolist()
        return [
            self._finding(step, place, float(smooth[place]), float(reference[place]), float(band[place]))
            for place in sorted(places, key=self._streak.since)
        ]

    def _logs(self, row: Row) -> Row:
        """Return what growth is measured on, ``VIEWS`` values a site: by default the logarithm."""
        return log_row(np.maximum(row, _NOTHING) if self.direction < 0 else row)

    def _level(self, place: int, log: float) -> float:
        """Return the reading that a value of ``_logs`` stands for."""
        return math.exp(log)

    def _reference(self, smooth: Row) -> Row:
        """Return the level that each site left, or had some records ago; without a past it is its own."""
        if not len(self._past):
            return smooth
        self._past.widen(smooth.size)
        reference = self._past.oldest
        if self._left.size:
            self._left = widened(self._left, smooth.size)
            reference = np.where(np.isnan(self._left), reference, self._left)
        unknown = np.isnan(reference)
        return np.where(unknown, smooth, reference) if unknown.any() else reference

    def _bar(self, n_sites: int) -> Row | float:
        """Return the multiple of its limit beyond which a site is out; to stay out its own limit will do."""
        limit = self._extremes.limit if n_sites > 1 else 1.0
        return np.where(np.isnan(self._left), limit, 1.0) if self._left.size else limit

    def _holds(self, smooth: Row, reference: Row, bar: Row | float) -> NDArray[np.bool_]:
        """Return where a site is outside its band, and remember how far the farthest one is.

        A comparison with NaN is false.
        """
        if self._seen <= self.ARMED:
            return np.zeros(smooth.size, dtype=bool)
        limits = self._limits_of_places()
        growth = self.direction * (smooth - reference) / limits
        holds: NDArray[np.bool_] = growth > bar
        if holds.any():
            is_out = ~np.isnan(self._left) if self._left.size else False
            holds &= (self._is_new(smooth) | is_out) & self._also(smooth)
            # A site that stays out says no more of what is usual than that it went out.
            growth[holds & is_out] = 1.0
        self._extremes.push(float(np.fmax.reduce(growth)))
        return holds

    def _limits_of_places(self) -> Row:
        """Return the log growth that counts at each place, worked out when sites appear."""
        if self._limits.size != self.VIEWS * len(self._columns.tags):
            views = range(self.VIEWS)
            self._limits = np.array([self._limit_at(site, v) for site in self._columns.sites for v in views])
        return self._limits

    def _limit_at(self, site: str, view: int) -> float:
        """Return the log growth that counts in one view of a site; by default the same in all."""
        return self._limit

    def _is_new(self, smooth: Row) -> NDArray[np.bool_]:
        """Return where a level has not just come back from a short dip, which is no growth.

        To go out, a site must also stand a quarter of its limit beyond the median of its past.
        """
        new: NDArray[np.bool_] = self.direction * (smooth - self._past.median()) > 0.25 * self._limits
        return new

    def _also(self, smooth: Row) -> NDArray[np.bool_]:
        """Return where a second condition holds that a level must meet; by default everywhere."""
        return np.ones(smooth.size, dtype=bool)

    def _finding(self, step: int, place: int, smooth: float, reference: float, band: float) -> Finding:
        since = self._streak.since(place)
        site = self._columns.sites[place // self.VIEWS]
        value, before, edge = (self._level(place, each) for each in (smooth, reference, band))
        return Finding(
            self.kind,
            site,
            step,
            since,
            value,
            self._threshold(edge),
            self._severity(site, value, before),
            self._message(site, value, before),
        )

    def _threshold(self, band: float) -> float:
        """Return the value beyond which the site is out, given the edge of its own band."""
        return band

    def _severity(self, site: str, value: float, reference: float) -> Severity:
        return Severity.INFO

    def restored(self) -> None:
        """Have the limits worked out anew for the sites that were taken up."""
        self._limits = np.empty(0)

    @abstractmethod
    def _message(self, site: str, value: float, reference: float) -> str:
        """Return what is said of a site: the numbers and what they mean."""
