"""An activation that grows much faster than it has been growing."""

from typing import ClassVar

from stabilitykit.detect.growth import Growth
from stabilitykit.records import Severity

HALF_MAX = 65504.0
"""The largest float16 number."""


class ActivationBlowUp(Growth):
    """Flags a root mean square of the residual line or of a norm's input that multiplies within 20 steps.

    Absolute size only raises the severity: to ``critical`` where a 16-bit float would have less than a
    factor 8 of headroom.

    Args:
        factor: Growth within 20 steps that counts.
    """

    kind: ClassVar[str] = "activation_blow_up"
    statistics: ClassVar[tuple[str, ...]] = ("act/rms",)

    def __init__(self, factor: float = 4.0) -> None:
        super().__init__(factor)

    def _severity(self, value: float, reference: float) -> Severity:
        return Severity.CRITICAL if value * 8 > HALF_MAX else Severity.WARNING

    def _message(self, site: str, value: float, reference: float, since: int) -> str:
        return f"activations at {site} have grown {value / reference:.3g}-fold, to RMS {value:.3g}, since step {since}"
