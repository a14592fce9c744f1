"""A block that no longer gets a share of the gradient."""

import sys
from typing import ClassVar

import numpy as np

from stabilitykit.detect.detector import Row, SiteColumns
from stabilitykit.detect.growth import Growth
from stabilitykit.records import Severity
from stabilitykit.tags import select


class _BlockColumns(SiteColumns):
    """Blocks only: the shares of embeddings and norms are small by nature."""

    def _select(self, tags: tuple[str, ...], name: str) -> tuple[str, ...]:
        return tuple(tag for tag in select(tags, name) if "blocks." in tag)


class VanishingGradient(Growth):
    """Flags a block whose share of the global gradient is small and has fallen far within a short time.

    The share is the block's gradient norm over the global one. Both conditions are needed: deep healthy
    models hold shares below any fixed limit, and shares move by factors while a model learns.

    Args:
        factor: Fall within 20 steps that counts.
        share: Share below which a block counts as starved.
    """

    kind: ClassVar[str] = "vanishing_gradient"
    statistics: ClassVar[tuple[str, ...]] = ("grad/share",)
    direction: ClassVar[int] = -1
    FORGET: ClassVar[int] = sys.maxsize  # starved for long is not healthy

    def __init__(self, factor: float = 5.0, share: float = 0.01) -> None:
        super().__init__(factor)
        self._columns = _BlockColumns(*self.statistics)
        self._share = share

    def _also(self, level: Row) -> np.ndarray:
        return level < self._share

    def _severity(self, site: str, value: float, reference: float) -> Severity:
        return Severity.CRITICAL if value < 0.1 * self._share else Severity.WARNING

    def _message(self, site: str, value: float, reference: float, since: int) -> str:
        return (
            f"{site} gets {value:.2g} of the gradient, {reference / value:.3g} times less than before: "
            f"it has all but stopped learning"
        )
