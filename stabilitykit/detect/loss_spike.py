"""A jump of the loss above its own recent past."""

from typing import Any, ClassVar

from stabilitykit.detect.detector import Detector
from stabilitykit.detect.loss import LossSeries
from stabilitykit.detect.rolling import Window, robust_sigma
from stabilitykit.records import Finding, Severity, StepRecord


class LossSpike(Detector):
    """Flags a loss far above the median of its recent past.

    The base is the median of the last 7 values that were not flagged themselves; the noise is 1.4826 MAD
    of the last 64 differences to that base, so a falling loss is not mistaken for noise. One-sided.
    A loss that stays up for 20 records is a new level and no longer a spike: ``divergence`` has it.

    Args:
        sigmas: How many noise widths above the base.
        relative: Least rise as a share of the loss.
        absolute: Least rise in nats.
    """

    kind: ClassVar[str] = "loss_spike"
    quiet: ClassVar[int] = 5

    BASE, NOISE, ARMED, LEVEL = 7, 64, 16, 20

    def __init__(self, sigmas: float = 7.0, relative: float = 0.08, absolute: float = 0.05) -> None:
        super().__init__(sigmas=sigmas, relative=relative, absolute=absolute)
        self._sigmas, self._relative, self._absolute = sigmas, relative, absolute
        self._losses = LossSeries()
        self._base = Window(self.BASE)
        self._residuals = Window(self.NOISE)
        self._flagged = Window(self.LEVEL)
        self._since = -1

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding when the loss of this step stands far above its recent past."""
        both = self._losses.read(record)
        if both is None:
            return []
        loss, excess = both
        base = self._base.median()
        threshold = self._threshold(loss - excess + base)
        if len(self._residuals) < self.ARMED or excess - base <= threshold:
            self._admit(excess, base)
            return []
        return self._flag(record.step, loss, excess, base, threshold)

    def _threshold(self, base_loss: float) -> float:
        """Return the least rise that counts as a spike, in nats."""
        noise = self._sigmas * robust_sigma(self._residuals.values) if len(self._residuals) else 0.0
        return max(noise, self._relative * abs(base_loss), self._absolute)

    def _admit(self, excess: float, base: float) -> None:
        if len(self._base) == self.BASE:
            self._residuals.push(excess - base)
        self._base.push(excess)
        self._flagged.values.clear()

    def _flag(self, step: int, loss: float, excess: float, base: float, threshold: float) -> list[Finding]:
        if not len(self._flagged):
            self._since = step
        self._flagged.push(excess)
        if len(self._flagged) == self.LEVEL:
            self._base.values.extend(self._flagged.last(self.BASE))
            self._flagged.values.clear()
            return []
        shift = loss - excess
        message = (
            f"loss {loss:.4g} is {excess - base:.3g} above the median of its last {self.BASE} steps; "
            f"{threshold:.3g} is the limit"
        )
        severe = excess - base > 3 * threshold
        return [
            Finding(
                self.kind,
                "train/loss",
                step,
                self._since,
                loss,
                shift + base + threshold,
                Severity.CRITICAL if severe else Severity.WARNING,
                message,
            )
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {
            "unigram": self._losses.unigram,
            "base": list(self._base.values),
            "residuals": list(self._residuals.values),
            "flagged": list(self._flagged.values),
            "since": self._since,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        for window, name in (
            (self._base, "base"),
            (self._residuals, "residuals"),
            (self._flagged, "flagged"),
        ):
            window.values.clear()
            window.values.extend(state[name])
        self._losses.unigram, self._since = state["unigram"], state["since"]
