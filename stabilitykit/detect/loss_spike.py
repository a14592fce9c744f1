"""A jump of the loss above its own recent past."""

import math
from typing import Any, ClassVar

from stabilitykit.detect.detector import Detector
from stabilitykit.detect.loss import CROSS_ENTROPY, LOSS, Loss, LossSeries
from stabilitykit.detect.noise import LossNoise
from stabilitykit.detect.recurrence import Recurrence
from stabilitykit.detect.rolling import Window
from stabilitykit.detect.witness import GradientWitness
from stabilitykit.records import Finding, Severity, StepRecord


class LossSpike(Detector):
    """Flags a loss far above the median of its recent past.

    The base is the median of the last 7 values that were not flagged themselves; the noise is that of the
    differences to it (``LossNoise``). Only rises count. Noise of batches that is one-sided reaches further
    (``tail``), and single heights that keep coming back are a habit (``Recurrence``). A loss that stays up
    for 20 records is a new level and no longer a spike: ``divergence`` has it.

    A high loss at which the gradient norm is ordinary (``GradientWitness``) is a hard batch, and evidence
    only, unless the next loss shows that it lasts: one that is not back within half of the limit is an alarm.

    Args:
        sigmas: How many noise widths above the base.
        relative: Least rise as a share of the loss.
        absolute: Least rise in nats; or, if that is less,
        share: Least rise as a share of all that was learned since the first record.
    """

    kind: ClassVar[str] = "loss_spike"
    statistics: ClassVar[tuple[str, ...]] = (LOSS, CROSS_ENTROPY)
    quiet: ClassVar[int] = 4

    BASE, YOUNG, ARMED, LEVEL = 7, 3, 6, 20
    QUIET = 0.7
    """Largest limit of the noise, as a share of the loss, beside which single high values are of one kind."""
    REST = 0.01
    """Share of the first loss below which all is learned."""

    def __init__(
        self, sigmas: float = 7.0, relative: float = 0.08, absolute: float = 0.05, share: float = 0.01
    ) -> None:
        super().__init__(sigmas=sigmas, relative=relative, absolute=absolute, share=share)
        self._relative, self._absolute, self._share = relative, absolute, share
        self._losses = LossSeries()
        self._noise = LossNoise(sigmas)
        self._base = Window(self.BASE)
        self._flagged = Window(self.LEVEL)
        self._recurrence = Recurrence()
        self._witness = GradientWitness()
        self._seen = 0
        self._first = math.nan
        self._lowest = math.inf
        self._since = -1
        self._back = math.inf
        """What the next loss must not exceed for the last one to be a hard batch; Inf where it was none."""

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding when the loss of this step stands far above its recent past."""
        loss = self._losses.read(record)
        if loss is None:
            return []
        self._witness.push(record)
        self._seen += 1
        if math.isnan(self._first):
            self._first = loss.adjusted
        if len(self._base) < self.YOUNG:
            self._base.push(loss.adjusted)
            return []
        base = self._base.median()
        self._lowest = min(self._lowest, base)
        rise = loss.adjusted - base
        # Most rises are too small whatever the noise, and the noise costs more to know.
        least = self._least(base)
        if rise > least and len(self._noise) >= self.ARMED:
            limit = self._limit(rise, base, least)
            if rise > limit:
                return self._flag(record.step, loss, base, limit)
        self._noise.push_at(rise, base)
        self._base.push(loss.adjusted)
        self._flagged.values.clear()
        return self._lasting(record.step, loss)

    def _limit(self, rise: float, base: float, least: float) -> float:
        """Return the rise above a base that counts."""
        noise = self._noise.limit_at(base)
        limit = max(noise, least)
        # What follows takes longer to know. Where next to nothing is left, what scatters is no batch's.
        if rise <= limit or base < self.REST * self._first:
            return limit
        limit = max(noise * self._noise.tail_at(base), least)
        if rise <= limit or noise > self.QUIET * base:
            return limit
        usual = self._recurrence.limit(self._seen, base)
        self._recurrence.push(self._seen, rise, base + rise)
        return max(limit, usual)

    def _least(self, base: float) -> float:
        """Return the least rise that counts as a spike without any noise, in nats."""
        # A loss that is not in nats may be tiny throughout: there its own range is the unit.
        floor = min(self._absolute, self._share * max(0.0, self._first - self._lowest))
        return max(self._relative * abs(base), floor)

    def _flag(self, step: int, loss: Loss, base: float, limit: float) -> list[Finding]:
        if not len(self._flagged):
            self._since = step
        self._flagged.push(loss.adjusted)
        if len(self._flagged) == self.LEVEL:
            self._base.values.extend(self._flagged.last(self.BASE))
            self._flagged.values.clear()
            return []
        rise = loss.adjusted - base
        message = (
            f"loss {loss.value:.4g} is {rise:.3g} above the median of its last {self.BASE} steps; "
            f"{limit:.3g} is the limit"
        )
        severity = Severity.CRITICAL if rise > 3 * limit else Severity.WARNING
        self._back = math.inf
        if len(self._flagged) == 1 and self._witness.is_calm():
            severity = Severity.INFO
            message += "; the gradient norm is ordinary"
            self._back = base + 0.5 * limit
        threshold = loss.difficulty + base + limit
        return [Finding(self.kind, LOSS, step, self._since, loss.value, threshold, severity, message)]

    def _lasting(self, step: int, loss: Loss) -> list[Finding]:
        """Return a finding where a loss, no spike itself, shows that the one before was no single one."""
        back, self._back = self._back, math.inf
        if loss.adjusted <= back:
            return []
        threshold = loss.difficulty + back
        message = (
            f"loss {loss.value:.4g} is not back below {threshold:.4g} after the spike of the step before"
        )
        severity = Severity.WARNING
        return [Finding(self.kind, LOSS, step, self._since, loss.value, threshold, severity, message)]

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {
            "losses": self._losses.state_dict(),
            "noise": self._noise.state_dict(),
            "base": list(self._base.values),
            "flagged": list(self._flagged.values),
            "recurrence": self._recurrence.state_dict(),
            "witness": self._witness.state_dict(),
            "seen": self._seen,
            "range": [self._first, self._lowest],
            "since": self._since,
            "back": self._back,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self._losses.load_state_dict(state["losses"])
        self._noise.load_state_dict(state["noise"])
        self._base.load(state["base"])
        self._flagged.load(state["flagged"])
        self._recurrence.load_state_dict(state["recurrence"])
        self._witness.load_state_dict(state["witness"])
        self._seen = state["seen"]
        self._first, self._lowest = state["range"]
        self._since = state["since"]
        self._back = state["back"]
