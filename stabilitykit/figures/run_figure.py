"""Runs as PNG, SVG or PDF, by matplotlib: curves with incidents shaded, and a lane for each kind below."""

import textwrap
from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from stabilitykit.figures.colours import CRITICAL, FAINT, INK, LINE, hexadecimal
from stabilitykit.figures.drawing import file_bytes, files, new_figure, settings
from stabilitykit.figures.lanes import incident_lanes
from stabilitykit.figures.loss_scale import loss_scale
from stabilitykit.figures.panels import colour, draw_bands, draw_curve, draw_lanes, draw_step_axis
from stabilitykit.figures.run_picture import Panel, RunPicture, printable
from stabilitykit.records import Severity

MOST = 120
"""Runs on one picture at most."""
_WIDTH, _CURVE, _SECOND, _SMALL, _LANE, _AROUND = 9.0, 3.0, 1.5, 1.3, 0.21, 1.35
"""Inches: a picture, a run's first and second curve, the curve of one of several runs, a lane, the rest."""

_COLUMNS = 118
"""Characters across a picture."""


def run_file(runs: Sequence[RunPicture], format: str) -> bytes:
    """Return a picture of one run, or of several beside each other, as the bytes of a file.

    Args:
        runs: At least one, of which the first ``MOST`` are drawn; a run alone with its gradient norm.
        format: ``png``, ``svg`` or ``pdf``.
    """
    with settings():
        return file_bytes(_figure(runs), format)


def run_files(runs: Sequence[RunPicture], formats: Sequence[str]) -> dict[str, bytes]:
    """Return the same picture as the bytes of several files.

    Args:
        runs: As ``run_file`` takes them.
        formats: Each ``png``, ``svg`` or ``pdf``.
    """
    with settings():
        return files(_figure(runs), formats)


def _figure(runs: Sequence[RunPicture]) -> Figure:
    return _alone(runs[0]) if len(runs) == 1 else _several(runs)


def _alone(run: RunPicture) -> Figure:
    heights = [_CURVE, *[_SECOND] * (len(run.panels) - 1), *_strip(run)]
    figure = new_figure(_WIDTH, sum(heights) + _AROUND)
    _draw(figure, run, run.panels, heights, columns=_COLUMNS)
    _legend(figure, [run])
    return figure


def _several(all_runs: Sequence[RunPicture]) -> Figure:
    runs = all_runs[:MOST]
    columns = min(len(runs), 1 + (len(runs) > 3) + (len(runs) > 16))
    rows = [runs[start : start + columns] for start in range(0, len(runs), columns)]
    strips = [max(sum(_strip(run)) for run in row) for row in rows]
    heights = [_SMALL + strip + _AROUND for strip in strips]
    width = _WIDTH * (0.55 + 0.45 * columns)
    figure = new_figure(width, sum(heights) + 0.5)
    if len(all_runs) > len(runs):
        figure.supxlabel(f"the first {len(runs)} of {len(all_runs)} runs")
    grid = figure.subfigures(len(rows), columns, height_ratios=heights, squeeze=False)
    for index, run in enumerate(runs):
        row, column = divmod(index, columns)
        own = [_SMALL + strips[row] - sum(_strip(run)), *_strip(run)]
        _draw(grid[row, column], run, run.panels[:1], own, columns=round(_COLUMNS * width / columns / _WIDTH))
    _legend(figure, runs)
    return figure


def _strip(run: RunPicture) -> list[float]:
    """Return the height of the lanes; none where nothing happened."""
    lanes = incident_lanes(run.verdict.incidents)
    return [_LANE * len(lanes)] if lanes else []


def _draw(
    figure: Figure | SubFigure,
    run: RunPicture,
    panels: Sequence[Panel],
    heights: Sequence[float],
    columns: int,
) -> None:
    _headline(figure, run, columns)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for index, each in enumerate(axes):
        draw_step_axis(each, run.span, named=index == len(axes) - 1)
    for panel, above in zip(panels, axes, strict=False):
        _draw_panel(above, panel)
    if len(heights) > len(panels):
        draw_lanes(axes[-1], incident_lanes(run.verdict.incidents))


def _headline(figure: Figure | SubFigure, run: RunPicture, columns: int) -> None:
    verdict = run.verdict
    ending = "" if verdict.complete else " (interrupted)"
    room = columns * 3 // 4
    # Of a long path the end tells more.
    title = run.title if len(run.title) <= room else "…" + run.title[1 - room :]
    reason = textwrap.fill(
        f"{verdict.outcome}{ending}: {printable(verdict.reason)}", columns, max_lines=2, placeholder=" …"
    )
    # An empty line of the title is the room in which the reason stands.
    figure.suptitle(
        title + "\n" * (reason.count("\n") + 2), x=0.01, ha="left", fontsize=11, fontweight="bold"
    )
    height = figure.bbox.height / figure.dpi
    figure.text(0.01, 1 - 0.30 / height, reason, va="top", color=hexadecimal(FAINT))


def _draw_panel(axes: Axes, panel: Panel) -> None:
    scale = draw_curve(axes, panel.curve, panel.name)
    draw_bands(axes, panel.marks)
    peaks = [(step, value) for step, value in panel.peaks if scale.low <= value <= scale.high]
    if peaks:
        steps, values = zip(*peaks, strict=True)
        axes.plot(steps, values, "o", color=hexadecimal(INK), markerfacecolor="none", markersize=7, zorder=4)


def _legend(figure: Figure, runs: Sequence[RunPicture]) -> None:
    """Say what the shapes mean that are there."""
    severities = {incident.severity for run in runs for incident in run.verdict.incidents}
    panels = [panel for run in runs for panel in run.panels]
    used: list[tuple[bool, str, str, Literal["none", "full"], str]] = [
        (Severity.WARNING in severities, "^", colour(Severity.WARNING), "none", "warning announced"),
        (Severity.CRITICAL in severities, "D", colour(Severity.CRITICAL), "full", "critical announced"),
        (any(panel.peaks for panel in panels), "o", hexadecimal(INK), "none", "peak"),
        (any(panel.curve.is_broken for panel in panels), "x", hexadecimal(CRITICAL), "full", "not finite"),
        (any(_leaves_axis(panel) for panel in panels), "^", hexadecimal(LINE), "full", "beyond the axis"),
    ]
    handles = [
        Line2D([], [], color=paint, marker=shape, fillstyle=fill, linestyle="none", label=text)
        for there, shape, paint, fill, text in used
        if there
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=5, frameon=False, fontsize=8)


def _leaves_axis(panel: Panel) -> bool:
    values = panel.curve.values
    return bool(values.size) and float(values.max()) > loss_scale(values).high
