"""Pictures of costs as SVG: shares of the classes, ratios with intervals, a cache that grows.

Each is drawn for a width in pixels, so that its text stays readable on a narrow screen.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from stabilitykit.figures.scale import Scale
from stabilitykit.lab.cost.amounts import seconds_text
from stabilitykit.lab.cost.document import CostDocument, Quotient, Side
from stabilitykit.lab.cost.spread import Spread
from stabilitykit.lab.report.cost_words import percent, ratio_text

WIDE, NARROW = 720, 350
"""Pixels."""
HUES = 6
_LIGHT = {
    "hue-0": "#0072b2",
    "hue-1": "#b36b00",
    "hue-2": "#007a5a",
    "hue-3": "#9a4f86",
    "hue-4": "#5b5b5b",
    "hue-5": "#2f9bd0",
    "ink": "#1f1f1f",
    "faint": "#5f5f5f",
    "rule": "#dddddd",
    "paper": "#ffffff",
}
"""The page's colours, for files of their own."""
_CHARACTER = 6.6
"""Pixels of one, about, at 12 px."""
_BAR, _ROW, _LINES = 24, 17, 300
"""Height of a bar, of a row, of a picture of lines."""


_Place = Callable[[float], float]
"""Where a value stands, in pixels."""


class RatioRow(NamedTuple):
    """One variant's ratio to the first in one quantity."""

    variant: str
    value: float
    interval: Quotient | None
    """None where it was computed."""


def shares_picture(side: Side, width: int = WIDE) -> Markup:
    """Return stacked bars of FLOPs, bytes and time, by class.

    Args:
        side: One model.
        width: Pixels.
    """
    parts: list[str] = []
    y = 0
    for name, shares in side.shares.items():
        whole = sum(shares) or 1.0
        parts.append(_text(0, y + 13, name, weight=700))
        told = '<tspan style="fill:var(--faint)"> · </tspan>'.join(
            f'<tspan style="fill:var(--hue-{n % HUES})">{percent(share)}</tspan>'
            for n, share in enumerate(shares)
        )
        parts.append(f'<text x="{width}" y="{y + 13}" text-anchor="end" font-weight="700">{told}</text>')
        x = 0.0
        for n, share in enumerate(shares):
            length = width * share / whole
            parts.append(_rect(x, y + 18, max(length - 1, 0.5), _BAR, f"hue-{n % HUES}"))
            label = side.classes[n].name
            if length > _CHARACTER * len(label) + 12:
                parts.append(_text(x + length / 2, y + 18 + 16, label, "middle", "paper"))
            x += length
        y += 18 + _BAR + 12
    return _svg(width, y - 8, parts, "shares of FLOPs, bytes and time by class")


def ratios_picture(groups: Mapping[str, Sequence[RatioRow]], width: int = WIDE) -> Markup:
    """Return ratios to the first variant with their intervals, on a logarithmic axis.

    Args:
        groups: By quantity, what each variant has.
        width: Pixels.
    """
    rows = [row for each in groups.values() for row in each if row.value > 0]
    ends = [end for row in rows for end in _ends(row)]
    scale = Scale.of(np.array([*ends, min(ends) / 1.05, max(ends) * 1.05, 0.9, 1.1]), log=True)
    left = _CHARACTER * min(max(len(row.variant) for row in rows), 24 if width > NARROW else 20) + 20
    right = 156 if width > NARROW else 12

    def at(value: float) -> float:
        return left + (width - left - right) * float(scale.fraction(np.array(value)))

    height = 22 + sum(_ROW * (1 + len(each)) + 6 for each in groups.values())
    parts = [
        _upright(at(value), height - 18, "rule" if value != 1 else "ink")
        + _text(at(value), height - 4, label, "middle", "faint")
        for value, label in _spaced(scale, at, 38)
    ]
    y = 0
    for name, members in groups.items():
        parts.append(_rect(0, y, len(name) * 7.2 + 4, _ROW, "paper") + _text(0, y + 13, name, weight=700))
        y += _ROW
        for row in members:
            parts += _ratio_row(row, y, at, width, int((left - 20) / _CHARACTER))
            y += _ROW
        y += 6
    return _svg(width, height, parts, "ratios to the first variant; the table tells them in numbers")


def growth_picture(document: CostDocument, width: int = WIDE) -> Markup:
    """Return seconds of attention over the length of the cache, a line for each variant, log-log.

    Solid lines with quartiles are measured, dashed ones the roofline's bound.

    Args:
        document: One with growth, and with times or peaks.
        width: Pixels.
    """
    lines = list(_lines(document))
    points = [point for line in lines for point in line.points]
    x_scale = Scale.of(np.array([float(x) for x, _ in points]), log=True)
    y_scale = Scale.of(np.array([end for _, y in points for end in (y.low, y.high)]), log=True)
    left, bottom, names = 62, 34, 8 * max(len(line.name) for line in lines) + 12
    inner, depth = width - left - names, _LINES - bottom - 8

    def x_at(value: float) -> float:
        return left + inner * float(x_scale.fraction(np.array(value)))

    def y_at(value: float) -> float:
        return 8 + depth * (1 - float(y_scale.fraction(np.array(value))))

    parts = [
        f'<line x1="{left}" x2="{left + inner:.1f}" y1="{y_at(value):.1f}" y2="{y_at(value):.1f}"'
        f' style="stroke:var(--rule)"/>'
        + _text(left - 6, y_at(value) + 4, seconds_text(value), "end", "faint")
        for value, _ in y_scale.ticks()
    ]
    parts += [
        _text(x_at(float(length)), _LINES - 16, str(length), "middle", "faint")
        for length in sorted({int(x) for x, _ in points})
    ]
    parts.append(_text(left + inner / 2, _LINES - 2, "tokens in the cache", "middle", "faint"))
    taken: list[float] = []
    for line in lines:
        parts += _curve(line, x_at, y_at)
        x, y = line.points[-1]
        if not line.is_bound or all(each.is_bound for each in lines):
            # Names that would stand upon each other are moved apart.
            place = _free(y_at(y.median) + 4, taken)
            parts.append(_text(x_at(float(x)) + 8, place, line.name, "start", f"hue-{line.hue}", 700))
    return _svg(width, _LINES, parts, "seconds of attention over the length of the cache")


def standalone(picture: Markup) -> str:
    """Return a picture as a file of its own, in the page's light colours.

    Args:
        picture: One of the above.
    """
    text = str(picture).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    text = text.replace(">", '><rect width="100%" height="100%" fill="#ffffff"/>', 1)
    return re.sub(r"var\(--([\w-]+)\)", lambda found: _LIGHT[found[1]], text) + "\n"


class _Line(NamedTuple):
    name: str
    hue: int
    is_bound: bool
    points: list[tuple[int, Spread]]


def _lines(document: CostDocument) -> Iterator[_Line]:
    for n, name in enumerate(dict.fromkeys(row.arch for row in document.growth)):
        rows = [row for row in document.growth if row.arch == name]
        bounds = [(row.cache, row.attention_bound(document.peaks)) for row in rows]
        known = [(x, Spread(median=y, low=y, high=y)) for x, y in bounds if y]
        if known:
            yield _Line(name, n % HUES, True, known)
        measured = [(row.cache, row.measured.attention_s) for row in rows if row.measured is not None]
        if measured:
            yield _Line(name, n % HUES, False, measured)


def _curve(line: _Line, x_at: _Place, y_at: _Place) -> Iterator[str]:
    colour = f"var(--hue-{line.hue})"
    path = " ".join(f"{x_at(float(x)):.1f},{y_at(y.median):.1f}" for x, y in line.points)
    dashes = ' stroke-dasharray="5 4"' if line.is_bound else ""
    yield f'<polyline points="{path}" style="fill:none;stroke:{colour};stroke-width:2"{dashes}/>'
    if line.is_bound:
        return
    for length, y in line.points:
        x = x_at(float(length))
        told = f"{line.name}, {length} tokens: {seconds_text(y.median)}"
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y_at(y.low):.1f}" y2="{y_at(y.high):.1f}"'
            f' style="stroke:{colour};stroke-width:2"/>'
            f'<circle cx="{x:.1f}" cy="{y_at(y.median):.1f}" r="3.5" style="fill:{colour}">'
            f"<title>{escape(told)}</title></circle>"
        )


def _ratio_row(row: RatioRow, y: float, at: _Place, width: int, most: int) -> Iterator[str]:
    middle, shown = y + 9, row.variant if len(row.variant) <= most else f"{row.variant[: most - 1]}…"
    yield _text(8, y + 13, shown, colour="faint")
    if row.value <= 0:
        return
    x = at(row.value)
    told = ratio_text(row.value)
    if row.interval is None:
        yield (
            f'<path d="M{x - 4.5:.1f} {middle}L{x:.1f} {middle - 4.5}L{x + 4.5:.1f} {middle}L{x:.1f}'
            f' {middle + 4.5}Z" style="fill:var(--paper);stroke:var(--hue-0);stroke-width:1.5"/>'
        )
    else:
        low, high = at(row.interval.low), at(row.interval.high)
        told += f" ({row.interval.low:.2f} to {row.interval.high:.2f})"
        yield (
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"'
            f' style="stroke:var(--hue-1);stroke-width:2.5"/>'
            f'<circle cx="{x:.1f}" cy="{middle}" r="4" style="fill:var(--hue-1)"/>'
        )
    if width > NARROW:
        yield _text(width, y + 13, told, "end")


def _ends(row: RatioRow) -> tuple[float, ...]:
    return (row.value,) if row.interval is None else (row.interval.low, row.value, row.interval.high)


def _spaced(scale: Scale, at: _Place, room: float) -> Iterator[tuple[float, str]]:
    """Yield the ticks that have room for their label; the one at 1 always."""
    places = [at(1.0)]
    yield 1.0, "1"
    for value, label in scale.ticks():
        if all(abs(at(value) - each) >= room for each in places):
            places.append(at(value))
            yield value, label


def _free(y: float, taken: list[float]) -> float:
    while any(abs(y - each) < 14 for each in taken):
        y += 1
    taken.append(y)
    return y


def _text(
    x: float, y: float, words: str, anchor: str = "start", colour: str = "ink", weight: int = 400
) -> str:
    style = f"fill:var(--{colour});font-weight:{weight}"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{escape(words)}</text>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" style="fill:var(--{colour})"/>'
    )


def _upright(x: float, height: float, colour: str) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height:.1f}" style="stroke:var(--{colour})"/>'


def _svg(width: int, height: float, parts: Sequence[str], label: str) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}" role="img"'
        f' aria-label="{escape(label)}" style="font:12px system-ui,sans-serif">{"".join(parts)}</svg>'
    )
