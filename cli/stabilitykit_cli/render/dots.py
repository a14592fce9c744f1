"""A grid of characters to draw lines on: braille has two columns of four dots a character, ASCII has one."""

import numpy as np

from stabilitykit.figures.columns import Columns
from stabilitykit_cli.render.words import ASCII, Glyphs

_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""Bits of a braille character: two columns of four dots, from below."""


class DotGrid:
    """Some rows of characters.

    Args:
        width: Columns of characters.
        height: Rows of characters.
        glyphs: What the terminal can show.
    """

    def __init__(self, width: int, height: int, glyphs: Glyphs) -> None:
        self._glyphs = glyphs
        self._wide, self._tall = (1, 1) if glyphs is ASCII else (2, 4)
        self._dots = np.zeros((width, height), dtype=np.int64)
        self._broken = np.zeros(width, dtype=bool)
        self._beyond = np.zeros(width, dtype=bool)

    @property
    def columns(self) -> int:
        """Columns of dots."""
        return len(self._dots) * self._wide

    def draw(self, line: Columns) -> None:
        """Add a line of as many columns as there are of dots."""
        height = self._dots.shape[1]
        rows = height * self._tall
        for column in np.flatnonzero(~np.isnan(line.low)):
            low, high = (min(rows - 1, int(end[column] * rows)) for end in (line.low, line.high))
            for dot in range(low, high + 1):
                bit = _DOTS[column % self._wide][dot % self._tall]
                self._dots[column // self._wide, height - 1 - dot // self._tall] |= bit
        self._broken |= line.broken.reshape(-1, self._wide).max(axis=1)
        self._beyond |= line.beyond.reshape(-1, self._wide).max(axis=1)

    def character(self, column: int, row: int) -> str:
        """Return what stands at a place; row 0 is the highest, and holds the marks of what left the axis."""
        if row == 0 and self._broken[column]:
            return self._glyphs.broken
        if row == 0 and self._beyond[column]:
            return self._glyphs.above
        dots = int(self._dots[column, row])
        if not dots:
            return " "
        return "*" if self._glyphs is ASCII else chr(0x2800 + dots)
