"""The depth × step heat map: which layer, when, how much. Drawn with pillow alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stabilitykit.errors import DataError
from stabilitykit.figures.colours import FAINT, INK, MISSING, NONFINITE, Colour, colours
from stabilitykit.figures.scale import Scale, step_ticks

WIDTH = 660
"""Width of the cells' area in pixels, where nothing else is asked for."""

_PAPER: Colour = (255, 255, 255)
_TOP, _BOTTOM, _BAR_GAP, _BAR_WIDTH = 48, 50, 22, 14


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the cells are, in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height


def heat_map(
    values: Float[np.ndarray, "rows columns"],
    row_labels: Sequence[str],
    column_range: tuple[int, int],
    title: str,
    unit: str,
    log: bool = False,
    *,
    missing: Bool[np.ndarray, "rows columns"] | None = None,
    markers: Sequence[int] = (),
    width: int = WIDTH,
) -> Image.Image:
    """Return an RGB picture, some 180 pixels wider than ``width``, of a quantity over depth and steps.

    Row 0 is at the bottom. NaN and Inf are red, missing cells grey, a zero on a logarithmic scale has the
    lowest colour. Of more columns than pixels, neighbours merge and the largest value, or NaN, stays.

    Args:
        values: One row a site, from input to output; one column a span of steps.
        row_labels: One short name a row.
        column_range: The first column's first step, and the step after the last column's.
        title: What is shown.
        unit: The unit, written above the colour bar; may be empty.
        log: Whether the colours follow the logarithm.
        missing: Cells that were not read; nothing is missing when absent.
        markers: Steps at which an incident began; each gets a vertical line.
        width: Width of the cells' area in pixels.

    Raises:
        DataError: ``values`` is not a table, or labels or ``missing`` do not fit it.
    """
    values, unread = _fit(*_checked(values, row_labels, missing), width)
    scale = Scale.of(np.where(unread, np.nan, values), log)
    frame = _frame(width, row_labels)
    image = Image.new("RGB", (frame.right + _right_margin(scale, unit), frame.bottom + _BOTTOM), _PAPER)
    draw = ImageDraw.Draw(image)
    _paint_cells(image, frame, values, unread, scale)
    _paint_markers(draw, frame, column_range, markers)
    _paint_rows(draw, frame, row_labels)
    _paint_steps(draw, frame, column_range)
    if np.isfinite(values).any():
        _paint_bar(image, draw, frame, scale, unit)
    draw.text((frame.left, 10), title, INK, _font(16))
    _paint_legend(draw, frame, bool(unread.any()), not np.isfinite(values[~unread]).all())
    return image


def cells_image(
    values: Float[np.ndarray, "rows columns"], missing: Bool[np.ndarray, "rows columns"], scale: Scale
) -> Image.Image:
    """Return the cells alone, a pixel each, row 0 at the bottom.

    Args:
        values: One row a site, one column a span of steps.
        missing: Cells that were not read.
        scale: From values to colours.
    """
    finite = np.isfinite(values)
    pixels = colours(scale.fraction(np.where(finite, values, scale.low)))
    pixels[~finite] = NONFINITE
    pixels[missing] = MISSING
    return Image.fromarray(np.ascontiguousarray(pixels[::-1]))


def _checked(
    values: NDArray[np.floating], row_labels: Sequence[str], missing: NDArray[np.bool_] | None
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    if values.ndim != 2 or not values.size or len(row_labels) != len(values):
        raise DataError(f"values has shape {values.shape}; accepted: {len(row_labels)} rows, some columns")
    if missing is None:
        return values, np.zeros(values.shape, bool)
    if missing.shape != values.shape:
        raise DataError(f"missing has shape {missing.shape}; accepted: that of values, {values.shape}")
    return values, missing


def _fit(
    values: NDArray[np.floating], missing: NDArray[np.bool_], width: int
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    columns = values.shape[1]
    if columns <= width:
        return values, missing
    starts = np.arange(width) * columns // width
    # Below every value, so that a missing cell gives way to any neighbour.
    merged = np.maximum.reduceat(np.where(missing, -np.inf, values), starts, axis=1)
    return merged, np.logical_and.reduceat(missing, starts, axis=1)


def _frame(width: int, row_labels: Sequence[str]) -> _Frame:
    rows = len(row_labels)
    height = rows * max(4, min(34, 260 // rows))
    left = 20 + int(max(_font().getlength(name) for name in row_labels))
    return _Frame(left, _TOP, width, max(height, 96))


def _right_margin(scale: Scale, unit: str) -> int:
    ticks = max(_font().getlength(text) for _, text in scale.ticks())
    return _BAR_GAP + 14 + int(max(_BAR_WIDTH + 7 + ticks, _font().getlength(unit)))


@lru_cache
def _font(size: int = 13) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _paint_cells(
    image: Image.Image,
    frame: _Frame,
    values: NDArray[np.floating],
    missing: NDArray[np.bool_],
    scale: Scale,
) -> None:
    cells = cells_image(values, missing, scale)
    image.paste(cells.resize((frame.width, frame.height), Image.Resampling.NEAREST), (frame.left, frame.top))


def _paint_rows(draw: ImageDraw.ImageDraw, frame: _Frame, labels: Sequence[str]) -> None:
    pitch = frame.height / len(labels)
    every = max(1, int(np.ceil(15 / pitch)))
    for row in range(0, len(labels), every):
        y = frame.bottom - (row + 0.5) * pitch
        draw.line([(frame.left - 4, y), (frame.left - 1, y)], FAINT)
        draw.text((frame.left - 8, y), labels[row], INK, _font(), anchor="rm")


def _paint_steps(draw: ImageDraw.ImageDraw, frame: _Frame, span: tuple[int, int]) -> None:
    for step in step_ticks(*span, n=frame.width // 75):
        x = _x(frame, span, step)
        draw.line([(x, frame.bottom), (x, frame.bottom + 4)], FAINT)
        draw.text((x, frame.bottom + 7), str(step), INK, _font(), anchor="ma")
    draw.text((frame.left + frame.width / 2, frame.bottom + 27), "step", FAINT, _font(), anchor="ma")


def _paint_markers(
    draw: ImageDraw.ImageDraw, frame: _Frame, span: tuple[int, int], markers: Sequence[int]
) -> None:
    for step in markers:
        if span[0] <= step < span[1]:
            x = _x(frame, span, step)
            # White on black shows on every colour of the scale.
            draw.line([(x, frame.top), (x, frame.bottom - 1)], (0, 0, 0), width=3)
            draw.line([(x, frame.top), (x, frame.bottom - 1)], (255, 255, 255), width=1)
            draw.polygon([(x - 5, frame.top - 9), (x + 5, frame.top - 9), (x, frame.top - 1)], INK)


def _paint_bar(image: Image.Image, draw: ImageDraw.ImageDraw, frame: _Frame, scale: Scale, unit: str) -> None:
    left = frame.right + _BAR_GAP
    ramp = colours(np.linspace(1, 0, frame.height)[:, None])
    bar = Image.fromarray(np.ascontiguousarray(np.repeat(ramp, _BAR_WIDTH, axis=1)))
    image.paste(bar, (left, frame.top))
    for value, text in scale.ticks():
        y = frame.bottom - 0.5 - float(scale.fraction(np.array(value))) * (frame.height - 1)
        draw.line([(left + _BAR_WIDTH, y), (left + _BAR_WIDTH + 3, y)], FAINT)
        draw.text((left + _BAR_WIDTH + 7, y), text, INK, _font(), anchor="lm")
    draw.text((left, frame.top - 20), unit, FAINT, _font(), anchor="la")


def _paint_legend(draw: ImageDraw.ImageDraw, frame: _Frame, missing: bool, nonfinite: bool) -> None:
    x, y = float(frame.left), frame.bottom + 28
    shown = [("not finite", NONFINITE)] * nonfinite + [("not read", MISSING)] * missing
    for text, colour in shown:
        draw.rectangle([(x, y + 1), (x + 10, y + 11)], colour)
        draw.text((x + 16, y - 1), text, FAINT, _font())
        x += 36 + _font().getlength(text)


def _x(frame: _Frame, span: tuple[int, int], step: int) -> float:
    return frame.left + (step - span[0]) / max(1, span[1] - span[0]) * frame.width
