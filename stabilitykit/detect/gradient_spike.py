"""A jump of the global gradient norm."""

from typing import ClassVar

from stabilitykit.detect.spike import Spike
from stabilitykit.records import Severity


class GradientSpike(Spike):
    """Flags a gradient norm, before clipping, far above its recent past.

    An alarm only where the growth is very large; otherwise evidence, since hard batches do the same.

    Args:
        sigmas: How many noise widths of the log norm above its median.
        factor: Least ratio to the median.
        alarm: Ratio to the median from which it is an alarm.
    """

    kind: ClassVar[str] = "gradient_spike"
    statistics: ClassVar[tuple[str, ...]] = ("optim/grad_norm",)

    def __init__(self, sigmas: float = 7.0, factor: float = 4.0, alarm: float = 100.0) -> None:
        super().__init__(sigmas, factor, alarm=alarm)
        self._alarm = alarm

    def _severity(self, value: float, usual: float) -> Severity:
        return Severity.WARNING if value > self._alarm * usual else Severity.INFO

    def _message(self, site: str, value: float, usual: float) -> str:
        return f"gradient norm {value:.4g} is {value / usual:.3g} times its usual {usual:.3g}"
