"""Panels of a picture, drawn with matplotlib: a curve, and lanes of marks below it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from stabilitykit.figures.colours import CRITICAL, FAINT, INK, LINE, WARNING, Colour, hexadecimal
from stabilitykit.figures.lanes import Lane, Mark
from stabilitykit.figures.laps import Lap
from stabilitykit.figures.loss_curve import LossCurve
from stabilitykit.figures.loss_scale import loss_scale
from stabilitykit.figures.scale import Scale, step_ticks
from stabilitykit.records import Severity

_SHAPES = {Severity.CRITICAL: "D", Severity.WARNING: "^", Severity.INFO: "|"}
_COLOURS: dict[Severity | None, Colour] = {
    Severity.CRITICAL: CRITICAL,
    Severity.WARNING: WARNING,
    Severity.INFO: FAINT,
    None: INK,
}


def colour(severity: Severity | None) -> str:
    """Return the colour of a mark, as ``#rrggbb``."""
    return hexadecimal(_COLOURS[severity])


def draw_curve(axes: Axes, curve: LossCurve, name: str) -> Scale:
    """Draw a series with its axis of values, and return that axis.

    Args:
        axes: Where to.
        curve: The series.
        name: What it is, with its unit.
    """
    scale = loss_scale(curve.values)
    laps = curve.laps
    for number, lap in enumerate(laps, start=1):
        newest = number == len(laps)
        _draw_lap(axes, lap, scale, hexadecimal(LINE if newest else FAINT), zorder=3 if newest else 2.5)
    _draw_value_axis(axes, scale, name, empty=not curve.values.size)
    return scale


def _draw_lap(axes: Axes, lap: Lap, scale: Scale, colour: str, zorder: float) -> None:
    inside = np.clip(lap.values, scale.low, scale.high)
    lone = "." if len(lap.steps) < 40 else ""
    axes.plot(lap.steps, inside, color=colour, linewidth=1, marker=lone, markersize=4, zorder=zorder)
    _dots(axes, lap.steps[lap.values > scale.high], 1.0, "^", colour)
    _dots(axes, lap.broken, 0.97, "x", colour=hexadecimal(CRITICAL))


def _dots(axes: Axes, steps: Iterable[float], height: float, shape: str, colour: str) -> None:
    """Draw small marks at a share of the panel's height, also where they stand on its edge."""
    steps = list(steps)
    if steps:
        across = axes.get_xaxis_transform()
        where: dict[str, Any] = {"transform": across, "clip_on": False, "zorder": 4}
        axes.plot(steps, [height] * len(steps), shape, color=colour, markersize=5, **where)


def _draw_value_axis(axes: Axes, scale: Scale, name: str, empty: bool) -> None:
    axes.set_yscale("log" if scale.log else "linear")
    axes.set_ylim(scale.low, scale.high)
    texts = {} if empty else dict(scale.ticks())
    axes.yaxis.set_major_locator(FixedLocator(list(texts)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: texts.get(value, f"{value:g}")))
    axes.set_ylabel(name, color=hexadecimal(FAINT))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)


def draw_bands(axes: Axes, marks: Sequence[Mark]) -> None:
    """Shade the stretches that are marked, over the whole height, once the axis of steps stands."""
    right = axes.get_xlim()[1]
    for severity in sorted({mark.severity for mark in marks}, key=_weight):
        spans = [_span(mark, right) for mark in marks if mark.severity is severity]
        style: dict[str, Any] = {"facecolor": colour(severity), "edgecolor": colour(severity), "zorder": 1}
        # The edge keeps one step of a long run visible.
        axes.broken_barh(
            spans, (0, 1), transform=axes.get_xaxis_transform(), alpha=0.22, linewidth=0.8, **style
        )


def draw_lanes(axes: Axes, lanes: Sequence[Lane]) -> None:
    """Draw each lane's marks on a line of its own, the first on top, once the axis of steps stands."""
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_yticks(range(len(lanes)), [lane.label for lane in lanes])
    axes.tick_params(axis="y", length=0)
    for row, lane in enumerate(lanes):
        axes.axhline(row, color="#e6e6e6", linewidth=0.6, zorder=0)
        _draw_marks(axes, row, lane.marks)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)


def _draw_marks(axes: Axes, row: int, marks: Sequence[Mark]) -> None:
    right = axes.get_xlim()[1]
    for severity in sorted({mark.severity for mark in marks}, key=_weight):
        alike = [mark for mark in marks if mark.severity is severity]
        paint = colour(severity)
        bars: dict[str, Any] = {"facecolor": paint, "edgecolor": paint, "alpha": 0.45, "linewidth": 0.8}
        axes.broken_barh([_span(mark, right) for mark in alike], (row - 0.22, 0.44), **bars)
        told = [mark.detected for mark in alike if mark.detected is not None]
        if severity is not None and told:
            face = paint if severity is Severity.CRITICAL else "white"
            style: dict[str, Any] = {
                "color": paint,
                "markerfacecolor": face,
                "markersize": 5,
                "clip_on": False,
                "zorder": 5,
            }
            axes.plot(told, [row] * len(told), _SHAPES[severity], **style)


def draw_step_axis(axes: Axes, span: tuple[int, int], named: bool = True) -> None:
    """Lay out the axis of steps.

    Args:
        axes: Where to.
        span: First and last step.
        named: Whether its numbers are written, or another panel's below it are read.
    """
    room = max((span[1] - span[0]) * 0.01, 0.5)
    axes.set_xlim(span[0] - room, span[1] + room)
    axes.xaxis.set_major_locator(FixedLocator(step_ticks(span[0], span[1] + 1, n=7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: step_text(step)))
    axes.tick_params(axis="x", labelbottom=named)
    if named:
        axes.set_xlabel("step", color=hexadecimal(FAINT))


def step_text(step: float) -> str:
    """Return a step with its thousands set apart."""
    return f"{step:,.0f}".replace(",", "\N{THIN SPACE}")


def _span(mark: Mark, right: float) -> tuple[float, float]:
    end = right if mark.end is None else mark.end
    return mark.start, max(0.0, end - mark.start)


def _weight(severity: Severity | None) -> int:
    return -1 if severity is None else severity.rank
