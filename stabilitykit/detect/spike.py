"""Jumps of a statistic at any of its sites, above the site's own recent past."""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from stabilitykit.detect.detector import Detector, SiteColumns
from stabilitykit.detect.rolling import RowWindow
from stabilitykit.records import Finding, Severity, StepRecord


class Spike(Detector):
    """Base of detectors that flag one step's value far above the median of the last ``WINDOW`` steps.

    Works on logs, since gradient and update norms scatter by factors. Noise is 1.4826 MAD. A flagged value
    is replaced by the limit before it is let into the window, so that a new level is learned in the end.

    Args:
        sigmas: How many noise widths above the median.
        factor: Least ratio to the median.
    """

    statistics: ClassVar[tuple[str, ...]]
    WINDOW: ClassVar[int] = 32
    ARMED: ClassVar[int] = 16
    quiet: ClassVar[int] = 5

    def __init__(self, sigmas: float, factor: float, **settings: float) -> None:
        super().__init__(sigmas=sigmas, factor=factor, **settings)
        self._sigmas, self._factor = sigmas, math.log(factor)
        self._columns = SiteColumns(*self.statistics)
        self._past = RowWindow(self.WINDOW)

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding for each site that jumps at this step, the largest jump first."""
        row = self._columns.row(record)
        if not row.size:
            return []
        # A value that is not a number is an event of its own and no part of any baseline.
        log = np.full(row.size, math.nan)
        np.log(row, out=log, where=np.isfinite(row) & (row > 0))
        self._past.widen(row.size)
        center = self._past.median() if len(self._past) else log
        suspect = log > center + self._factor
        if suspect.any():
            suspect &= self._past.count() >= self.ARMED
        if not suspect.any():
            self._past.push(log)
            return []
        limit = center + np.maximum(self._sigmas * self._past.sigma(center), self._factor)
        self._past.push(np.where(suspect, np.minimum(log, limit), log))
        jump = np.where(suspect, log - limit, -math.inf)
        value, usual, most = np.exp(log), np.exp(center), np.exp(limit)
        return [
            self._finding(record.step, place, float(value[place]), float(usual[place]), float(most[place]))
            for place in np.argsort(-jump).tolist()
            if jump[place] > 0
        ]

    def _finding(self, step: int, place: int, value: float, usual: float, limit: float) -> Finding:
        site = self._columns.sites[place]
        severity = self._severity(value, usual)
        return Finding(self.kind, site, step, step, value, limit, severity, self._message(site, value, usual))

    def _severity(self, value: float, usual: float) -> Severity:
        return Severity.INFO

    @abstractmethod
    def _message(self, site: str, value: float, usual: float) -> str:
        """Return what is said of a site: the numbers and what they mean."""

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {"tags": list(self._columns.tags), "past": self._past.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self._columns.load(state["tags"])
        self._past.load_state_dict(state["past"])
