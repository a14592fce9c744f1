"""A jump of an update relative to its weights, or of the learning rate itself."""

from typing import ClassVar

from stabilitykit.detect.spike import Spike

RATE = "optim/lr"


class UpdateSpike(Spike):
    """Flags a group of parameters whose update/weight ratio jumps, and a learning rate that does.

    An update is the one signal that sees an accident of the learning rate or of the optimizer's state on the
    very step, one before the loss. Whether the rate jumped as well tells the two apart.

    Args:
        sigmas: How many noise widths of the log ratio above its median.
        factor: Least ratio to the median.
    """

    kind: ClassVar[str] = "update_spike"
    statistics: ClassVar[tuple[str, ...]] = ("optim/update_ratio", RATE)

    def __init__(self, sigmas: float = 7.0, factor: float = 4.0) -> None:
        super().__init__(sigmas, factor)

    def _message(self, site: str, value: float, usual: float) -> str:
        if site == RATE:
            return f"the learning rate, {value:.3g}, is {value / usual:.3g} times the usual"
        return f"updates of {site} are {value:.3g} of its weights, {value / usual:.3g} times the usual"
