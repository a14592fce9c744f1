"""An activation that grows much faster than it has been growing."""

import math
from typing import ClassVar

from stabilitykit.detect.growth import Growth
from stabilitykit.records import Severity
from stabilitykit.tags import FLOAT16_MAX


class ActivationBlowUp(Growth):
    """Flags a root mean square that multiplies within 20 steps; an alarm on the residual stream.

    Inside a branch large growth is ordinary where a norm follows: branches of healthy double-norm models
    grow thirtyfold in their first steps. There it is evidence only. Absolute size only raises the
    severity: to ``critical`` where a 16-bit float would have less than a factor 8 of headroom.

    Args:
        factor: Growth of the residual stream within 20 steps that is an alarm.
        inside: Growth inside a branch within 20 steps that is noted.
    """

    kind: ClassVar[str] = "activation_blow_up"
    statistics: ClassVar[tuple[str, ...]] = ("act/rms",)

    def __init__(self, factor: float = 50.0, inside: float = 10.0) -> None:
        super().__init__(math.log(factor), factor=factor, inside=inside)
        self._inside = math.log(inside)

    def _limit_at(self, site: str, view: int) -> float:
        return self._limit if self._is_on_stream(site) else self._inside

    def _severity(self, site: str, value: float, reference: float) -> Severity:
        if not self._is_on_stream(site):
            return Severity.INFO
        return Severity.CRITICAL if value * 8 > FLOAT16_MAX else Severity.WARNING

    def _message(self, site: str, value: float, reference: float) -> str:
        return (
            f"activations at {site} have grown {value / reference:.3g}-fold, to RMS {value:.3g}, "
            f"within {self.LAG} steps"
        )

    def _is_on_stream(self, site: str) -> bool:
        """Return whether a site is on the residual stream behind a sublayer; an embedding may grow."""
        return self._columns.role(site) in ("resid_mid", "resid_post")
