"""Output logits whose log-sum-exp runs away."""

from typing import ClassVar

from stabilitykit.detect.growth import Growth


class OutputLogitDrift(Growth):
    """Flags a mean log Z of the output softmax that multiplies within 20 steps.

    Evidence only: softmax does not see a common shift, so a drift costs nothing in float32.

    Args:
        factor: Growth within 20 steps that counts.
    """

    kind: ClassVar[str] = "output_logit_drift"
    statistics: ClassVar[tuple[str, ...]] = ("output/log_z",)

    def __init__(self, factor: float = 3.0) -> None:
        super().__init__(factor)

    def _message(self, site: str, value: float, reference: float, since: int) -> str:
        return f"mean log Z of the output has grown from {reference:.3g} to {value:.3g} nats"
