"""A jump of an update relative to its weights, or of the learning rate itself."""

import math
from typing import ClassVar

from stabilitykit.detect.rolling import Window
from stabilitykit.detect.spike import Spike
from stabilitykit.records import Finding, Severity, StepRecord

RATE = "optim/lr"


class UpdateSpike(Spike):
    """Flags a group of parameters whose update/weight ratio jumps, and a learning rate that does.

    An update is the one signal that sees an accident of the learning rate or of the optimizer's state on the
    very step, one before the loss. Whether the rate jumped as well tells the two apart. It is an alarm, since
    it names these faults on their step and is all but silent elsewhere (``docs/benchmark.md``).

    Args:
        sigmas: How many noise widths of the log ratio above its median.
        factor: Least ratio to the median; of the rate, which has no noise, the only limit.
    """

    kind: ClassVar[str] = "update_spike"
    statistics: ClassVar[tuple[str, ...]] = ("optim/update_ratio",)

    state: ClassVar[tuple[str, ...]] = ("rates",)

    def __init__(self, sigmas: float = 7.0, factor: float = 4.0) -> None:
        super().__init__(sigmas, factor)
        self._times = factor
        self._rates = Window(self.WINDOW)

    def concerns(self, tags: tuple[str, ...]) -> bool:
        """Return whether an update or the learning rate is read."""
        return RATE in tags or super().concerns(tags)

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding for the rate and for each group that jumps at this step."""
        return self._jump_of_rate(record) + super().update(record)

    def _jump_of_rate(self, record: StepRecord) -> list[Finding]:
        rate = record.readings.get(RATE, math.nan)
        if not (math.isfinite(rate) and rate > 0):
            return []
        past = self._rates
        # The median is not below the least: most steps need no more than that.
        if len(past) < self.ARMED or rate <= self._times * min(past.values):
            past.push(rate)
            return []
        usual = past.median()
        limit = self._times * usual
        past.push(min(rate, limit))
        if rate <= limit:
            return []
        message = f"the learning rate, {rate:.3g}, is {rate / usual:.3g} times the usual"
        return [Finding(self.kind, RATE, record.step, record.step, rate, limit, Severity.WARNING, message)]

    def _severity(self, value: float, usual: float) -> Severity:
        return Severity.WARNING

    def _message(self, site: str, value: float, usual: float) -> str:
        return f"updates of {site} are {value:.3g} of its weights, {value / usual:.3g} times the usual"
