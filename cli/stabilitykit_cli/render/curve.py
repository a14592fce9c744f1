"""The loss over all steps of a run as a small picture in text."""

import math
from collections.abc import Sequence

from rich.text import Text

from stabilitykit_cli.progress import Stretch, Trend
from stabilitykit_cli.render.words import ASCII, Glyphs

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille character: two columns of four dots."""
_HEADROOM = 1.5
"""How far above the first loss the picture reaches; higher losses lie on its upper edge."""


class LossCurve:
    """The loss so far, from its lowest to its highest value of every stretch of steps.

    Args:
        trend: The loss.
        reference: The batch's unigram cross-entropy in nats, drawn as a line: where a run that learns nothing
            but frequencies parks.
        width: Columns.
        height: Rows.
        glyphs: What the terminal can show.
    """

    def __init__(
        self, trend: Trend, reference: float | None, width: int, height: int, glyphs: Glyphs
    ) -> None:
        self._glyphs = glyphs
        self._wide, self._tall = (1, 1) if glyphs is ASCII else (2, 4)
        self._height = height
        self._stretches = trend.resampled(width * self._wide)
        self._reference = reference if reference is not None and math.isfinite(reference) else None
        self.low, self.high = _limits(self._stretches, trend.first, self._reference)

    @property
    def is_empty(self) -> bool:
        """Whether there was no finite loss yet."""
        return not any(math.isfinite(stretch.last) for stretch in self._stretches)

    @property
    def reference_row(self) -> int | None:
        """The row that holds the reference line, counted from above."""
        return None if self._reference is None else self._dot(self._reference) // self._tall

    def rows(self) -> list[Text]:
        """Return the picture, highest row first."""
        cells = self._cells()
        lines = []
        for row in range(self._height):
            line = Text()
            for column in cells:
                line.append(*self._character(column, row))
            lines.append(line)
        return lines

    def _cells(self) -> list[list[int]]:
        # One integer of dots a row, for each column of characters; -1 in the first marks a broken stretch.
        cells = []
        before = math.nan
        seen = max(
            (index for index, each in enumerate(self._stretches) if math.isfinite(each.last)), default=-1
        )
        for start in range(0, len(self._stretches), self._wide):
            cell = [0] * self._height
            for offset, stretch in enumerate(self._stretches[start : start + self._wide]):
                if stretch.broken:
                    cell[0] = -1
                    before = math.nan
                elif start + offset <= seen:
                    # Where not every step is observed, the line goes on at its last value.
                    self._draw(cell, offset, stretch, before)
                before = stretch.last if math.isfinite(stretch.last) else before
            cells.append(cell)
        return cells

    def _draw(self, cell: list[int], offset: int, stretch: Stretch, before: float) -> None:
        # Reaching back to the value before joins the stretches to one line.
        known = [loss for loss in (stretch.low, stretch.high, before) if math.isfinite(loss)]
        if not known:
            return
        low, high = min(known), max(known)
        for dot in range(self._dot(high), self._dot(low) + 1):
            row, bit = divmod(dot, self._tall)
            if cell[row] >= 0:
                cell[row] |= _DOTS[offset][bit]

    def _dot(self, loss: float) -> int:
        dots = self._height * self._tall
        share = (self.high - loss) / (self.high - self.low)
        return min(dots - 1, max(0, int(share * dots)))

    def _character(self, cell: list[int], row: int) -> tuple[str, str]:
        dots = cell[row]
        if dots < 0:
            return self._glyphs.broken, "red"
        if dots:
            return ("*" if self._glyphs is ASCII else chr(0x2800 + dots)), "cyan"
        return (self._glyphs.level, "dim") if row == self.reference_row else (" ", "")


def _limits(stretches: Sequence[Stretch], first: float, reference: float | None) -> tuple[float, float]:
    lows = [each.low for each in stretches if math.isfinite(each.low)]
    highs = [each.high for each in stretches if math.isfinite(each.high)]
    if reference is not None:
        lows.append(reference)
        highs.append(reference)
    if not lows or not highs:
        return 0.0, 1.0
    low, high = min(lows), max(highs)
    if math.isfinite(first):
        high = min(high, max(first * _HEADROOM, reference or first))
    return (low, high) if high > low else (low - 0.5, low + 0.5)
