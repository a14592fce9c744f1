"""Output logits whose log-sum-exp runs away from where it began."""

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.detector import Row, interleaved, widened
from stabilitykit.detect.growth import Growth


class OutputLogitDrift(Growth):
    """Flags a mean log Z of the output softmax that stands far from its first level, on either side.

    log Z is a logarithm already, so its growth is a difference in nats, and it may be negative: all logits
    drifting down together is how it fails (Wortsman 2309.14322). Evidence only: softmax does not see a
    common shift, which costs nothing in float32 and the last digits in half precision.

    Args:
        nats: Distance from the level of the first records that counts.
    """

    kind: ClassVar[str] = "output_logit_drift"
    statistics: ClassVar[tuple[str, ...]] = ("output/log_z",)
    VIEWS: ClassVar[int] = 2
    state: ClassVar[tuple[str, ...]] = ("first",)

    def __init__(self, nats: float = 10.0) -> None:
        super().__init__(nats, nats=nats)
        self._first: Row = np.empty(0)

    def _logs(self, row: Row) -> Row:
        finite = np.where(np.isfinite(row), row, math.nan)
        return interleaved(finite, -finite)

    def _level(self, place: int, log: float) -> float:
        return -log if place % 2 else log

    def _reference(self, smooth: Row) -> Row:
        """Return the first level of all, not that of some records ago: a slow drift is one as well."""
        super()._reference(smooth)  # Makes room for sites that have appeared.
        first = widened(self._first, smooth.size)
        self._first = np.where(np.isnan(first), smooth, first)
        return self._first

    def _is_new(self, smooth: Row) -> NDArray[np.bool_]:
        return np.ones(smooth.size, dtype=bool)

    def _message(self, site: str, value: float, reference: float) -> str:
        return f"mean log Z of the output has moved from {reference:.3g} to {value:.3g} nats"
