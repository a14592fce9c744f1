"""An activation that grows much faster than it has been growing."""

from typing import ClassVar

from stabilitykit.detect.growth import Growth
from stabilitykit.records import Severity

HALF_MAX = 65504.0
"""The largest float16 number."""


class ActivationBlowUp(Growth):
    """Flags a root mean square that multiplies within 20 steps; an alarm on the residual line.

    Inside a branch large growth is ordinary where a norm follows: branches of healthy double-norm models
    grow thirtyfold in their first steps. There it is evidence only. Absolute size only raises the
    severity: to ``critical`` where a 16-bit float would have less than a factor 8 of headroom.

    Args:
        factor: Growth within 20 steps that counts.
        alarm: Growth of the residual line from which it is an alarm.
    """

    kind: ClassVar[str] = "activation_blow_up"
    statistics: ClassVar[tuple[str, ...]] = ("act/rms",)

    def __init__(self, factor: float = 10.0, alarm: float = 50.0) -> None:
        super().__init__(factor)
        self._alarm = alarm

    def _severity(self, site: str, value: float, reference: float) -> Severity:
        if not site.endswith(("resid_mid", "resid_post")) or value < self._alarm * reference:
            return Severity.INFO
        return Severity.CRITICAL if value * 8 > HALF_MAX else Severity.WARNING

    def _message(self, site: str, value: float, reference: float, since: int) -> str:
        return (
            f"activations at {site} have grown {value / reference:.3g}-fold, to RMS {value:.3g}, "
            f"within {self.LAG} steps"
        )
