"""Jumps of a statistic at any of its sites, above the site's own recent past."""

import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np

from stabilitykit.detect.detector import Detector, Row, SiteColumns, log_row
from stabilitykit.detect.extremes import Extremes
from stabilitykit.detect.rolling import RowWindow
from stabilitykit.records import Finding, Severity, StepRecord


class Spike(Detector):
    """Base of detectors that flag one step's value far above the median of the last ``WINDOW`` steps.

    Works on logs, since gradient and update norms scatter by factors. A site's own limit is the larger of so
    many noise widths (1.4826 MAD, renewed every ``RENEWED`` steps) and a factor. Of several sites the one
    that is farthest out must also be beyond what the farthest of them usually is (``Extremes``). A flagged
    value is replaced by the limit before it is let into the window, so that a new level is learned in the
    end.

    Args:
        sigmas: How many noise widths above the median.
        factor: Least ratio to the median.
    """

    state: ClassVar[tuple[str, ...]] = ("columns", "past", "reach", "renewal", "extremes")
    WINDOW: ClassVar[int] = 32
    FEWEST: ClassVar[int] = 8
    """Values of a site from which on it counts among what sites usually do."""
    ARMED: ClassVar[int] = 16
    """Values of a site from which on it may be flagged."""
    RENEWED: ClassVar[int] = 4
    quiet: ClassVar[int] = 5

    def __init__(self, sigmas: float, factor: float, **settings: float) -> None:
        super().__init__(sigmas=sigmas, factor=factor, **settings)
        self._sigmas, self._factor = sigmas, math.log(factor)
        self._columns = SiteColumns(*self.statistics)
        self._past = RowWindow(self.WINDOW)
        self._reach: Row = np.empty(0)
        """What each site's log may rise above its median; infinite while there is too little past."""
        self._renewal = self.RENEWED
        """Records until the reach is worked out again."""
        self._extremes = Extremes(block=4, blocks=32, spare=16, stretch=4.0, before=math.inf)

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding for each site that jumps at this step, the largest jump first."""
        row = self._columns.row(record)
        if not row.size:
            return []
        log = log_row(row)
        self._past.widen(row.size)
        if not len(self._past):
            self._past.push(log)
            return []
        center = self._past.median()
        score = (log - center) / self._reaches(center)
        limit = self._limit(score)
        suspect = score > 1.0
        if not suspect.any():
            self._past.push(log)
            return []
        armed = self._past.count() >= self.ARMED
        self._past.push(np.where(suspect, np.minimum(log, center + self._reach), log))
        places = [p for p in np.argsort(-score).tolist() if score[p] > limit and armed[p]]
        most = center + limit * self._reach
        return [self._finding(record.step, p, *map(math.exp, (log[p], center[p], most[p]))) for p in places]

    def _limit(self, score: Row) -> float:
        """Return the score beyond which sites are out at this record, and remember its largest one."""
        if score.size < 2:
            return 1.0
        limit = self._extremes.limit
        if len(self._past) >= self.FEWEST:
            self._extremes.push(float(np.fmax.reduce(score)))
        return limit

    def _reaches(self, center: Row) -> Row:
        """Return how far each site's log may rise, renewed now and then: noise widths change slowly."""
        self._renewal -= 1
        if self._renewal == 0 or self._reach.size != center.size:
            self._renewal = self._renewal or self.RENEWED
            reach = np.maximum(self._sigmas * self._past.sigma(center), self._factor)
            self._reach = np.where(self._past.count() >= self.FEWEST, reach, math.inf)
        return self._reach

    def _finding(self, step: int, place: int, value: float, usual: float, limit: float) -> Finding:
        site = self._columns.sites[place]
        severity = self._severity(value, usual)
        return Finding(self.kind, site, step, step, value, limit, severity, self._message(site, value, usual))

    def _severity(self, value: float, usual: float) -> Severity:
        return Severity.INFO

    @abstractmethod
    def _message(self, site: str, value: float, usual: float) -> str:
        """Return what is said of a site: the numbers and what they mean."""
