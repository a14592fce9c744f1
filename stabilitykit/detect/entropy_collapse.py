"""Attention that narrows to a few keys within a short time."""

from typing import ClassVar

from stabilitykit.detect.growth import Growth


class EntropyCollapse(Growth):
    """Flags a block where the lowest head's attention entropy falls to a fraction within 20 steps.

    Evidence only: heads of healthy models narrow for good (Zhai 2303.06296 saw collapse go with failure,
    with no numeric limit).

    Args:
        factor: Fall within 20 steps that counts.
    """

    kind: ClassVar[str] = "entropy_collapse"
    statistics: ClassVar[tuple[str, ...]] = ("attn/entropy_min",)
    direction: ClassVar[int] = -1

    def __init__(self, factor: float = 5.0) -> None:
        super().__init__(factor)

    def _message(self, site: str, value: float, reference: float, since: int) -> str:
        return (
            f"the narrowest head of {site} has fallen from {reference:.2f} to {value:.2f} of its maximum "
            f"attention entropy"
        )
