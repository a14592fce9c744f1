"""A block that no longer gets a share of the gradient."""

import math
import sys
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.detector import Row, SiteColumns
from stabilitykit.detect.growth import Growth
from stabilitykit.detect.loss import LOSS
from stabilitykit.detect.rolling import Window
from stabilitykit.records import Finding, Severity, StepRecord
from stabilitykit.tags import select


class _BlockColumns(SiteColumns):
    """Blocks only: the shares of embeddings and norms are small by nature."""

    def _select(self, tags: tuple[str, ...], name: str) -> tuple[str, ...]:
        return tuple(tag for tag in select(tags, name) if "blocks." in tag)


class VanishingGradient(Growth):
    """Flags a block that is starved of gradient and was not before.

    The share is the block's gradient norm over the global one. Four conditions together: the share is
    small; it has fallen far within a short time; other blocks still get far more; and the loss is not a small
    rest of what it was, for where everything is learned no share means anything. Each alone is ordinary:
    shares of deep healthy models with wide vocabularies fall below any fixed limit, twentyfold within 20
    steps, but there all blocks fall together. The others are those of the same stack: beside a decoder that
    has learned its task, an encoder may get little for good.

    Args:
        factor: Fall within 20 steps that counts.
        share: Share below which a block counts as starved.
        behind: Ratio of the largest share in the stack to this one's from which it counts as left behind.
        rest: Share of its largest value so far below which the loss says that little is left to learn.
    """

    kind: ClassVar[str] = "vanishing_gradient"
    statistics: ClassVar[tuple[str, ...]] = ("grad/share",)
    direction: ClassVar[int] = -1
    FORGET: ClassVar[int] = sys.maxsize  # A block that is starved for long is not healthy by that.

    state: ClassVar[tuple[str, ...]] = ("losses", "largest")

    def __init__(
        self, factor: float = 5.0, share: float = 0.01, behind: float = 30.0, rest: float = 0.02
    ) -> None:
        super().__init__(math.log(factor), factor=factor, share=share, behind=behind, rest=rest)
        self._columns = _BlockColumns(*self.statistics)
        self._share, self._behind, self._rest = share, behind, rest
        self._losses = Window(self.SMOOTH)
        self._largest = 0.0
        self._stacks: NDArray[np.intp] = np.empty(0, dtype=np.intp)

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding for each starved block, the first to starve first."""
        loss = record.readings.get(LOSS, math.nan)
        if math.isfinite(loss):
            self._losses.push(loss)
            # Of the smoothed loss: one bad batch is no measure of what there was to learn.
            if loss > self._largest and len(self._losses) == self.SMOOTH:
                self._largest = max(self._largest, self._losses.median())
        return super().update(record)

    def _also(self, smooth: Row) -> NDArray[np.bool_]:
        level = np.exp(smooth)
        if self._losses.median() < self._rest * self._largest:
            return np.zeros(level.size, dtype=bool)
        if self._stacks.size != level.size:
            names = [site.partition("blocks.")[0] for site in self._columns.sites]
            self._stacks = np.unique(names, return_inverse=True)[1]
        best = np.zeros(level.size)
        np.fmax.at(best, self._stacks, level)
        behind: NDArray[np.bool_] = level * self._behind < best[self._stacks]
        return behind & (level < self._share)

    def _threshold(self, band: float) -> float:
        return min(band, self._share)

    def _severity(self, site: str, value: float, reference: float) -> Severity:
        return Severity.CRITICAL if value < 0.1 * self._share else Severity.WARNING

    def _message(self, site: str, value: float, reference: float) -> str:
        times = reference / value
        less = f"{times:,.0f}" if times >= 10 else f"{times:.1f}"
        return f"{site} gets {value:.2g} of the gradient, {less} times less than before: it hardly learns"
