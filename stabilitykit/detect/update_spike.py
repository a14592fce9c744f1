"""A jump of an update relative to its weights."""

from typing import ClassVar

from stabilitykit.detect.spike import Spike


class UpdateSpike(Spike):
    """Flags a group of parameters whose update/weight ratio jumps: the one signal that names an LR accident.

    Args:
        sigmas: How many noise widths of the log ratio above its median.
        factor: Least ratio to the median.
    """

    kind: ClassVar[str] = "update_spike"
    statistics: ClassVar[tuple[str, ...]] = ("optim/update_ratio",)

    def __init__(self, sigmas: float = 7.0, factor: float = 4.0) -> None:
        super().__init__(sigmas, factor)

    def _message(self, site: str, value: float, usual: float) -> str:
        return f"updates of {site} are {value:.3g} of its weights, {value / usual:.3g} times the usual"
