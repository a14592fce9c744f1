"""What a run shows over depth and steps as SVG, PDF or PNG, by matplotlib."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from stabilitykit.figures.colours import FAINT, MISSING, NONFINITE, colours, hexadecimal
from stabilitykit.figures.depth_map import DepthMap
from stabilitykit.figures.drawing import files, new_figure, settings
from stabilitykit.figures.heat_map import cells_image
from stabilitykit.figures.panels import step_text
from stabilitykit.figures.run_picture import printable
from stabilitykit.figures.scale import step_ticks

_ROW, _AROUND = 0.16, 0.75
"""Inches: a site, and what is around a map."""


def depth_files(maps: Sequence[DepthMap], title: str, formats: Sequence[str]) -> dict[str, bytes]:
    """Return the maps of a run above each other as files.

    Args:
        maps: At least one.
        title: What the run is called.
        formats: Each ``png``, ``svg`` or ``pdf``.
    """
    heights = [max(0.7, min(3.0, _ROW * len(each.sites))) for each in maps]
    with settings():
        figure = new_figure(7.0, sum(heights) + _AROUND * len(maps) + 0.4)
        figure.suptitle(printable(title), x=0.01, ha="left", fontsize=11, fontweight="bold")
        all_axes = figure.subplots(len(maps), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, each in zip(all_axes, maps, strict=True):
            _draw(figure, axes, each)
        return files(figure, formats)


def _draw(figure: Figure, axes: Axes, each: DepthMap) -> None:
    scale, sites = each.scale, each.sites
    extent = (each.span[0], each.span[1], -0.5, len(sites) - 0.5)
    cells = np.asarray(cells_image(each.values, each.missing, scale))
    axes.imshow(cells, extent=extent, aspect="auto", interpolation="nearest")
    every = max(1, len(sites) // 16)
    axes.set_yticks(range(0, len(sites), every), sites[::every])
    ticks = step_ticks(*each.span)
    axes.set_xticks(ticks, [step_text(step) for step in ticks])
    axes.set_title(each.title + (f", {each.unit}" if each.unit else ""), loc="left", fontsize=10)
    axes.set_xlabel("step", color=hexadecimal(FAINT))
    for step in (step for step in each.markers if each.span[0] <= step < each.span[1]):
        axes.axvline(step, color="black", linewidth=1.6)
        axes.axvline(step, color="white", linewidth=0.7)
    norm = (LogNorm if scale.log else Normalize)(scale.low, scale.high)
    ramp = ListedColormap(colours(np.linspace(0, 1, 256)) / 255)
    bar = figure.colorbar(ScalarMappable(norm, ramp), ax=axes, fraction=0.05, pad=0.02)
    texts = dict(scale.ticks())
    bar.ax.yaxis.set_major_locator(FixedLocator(list(texts)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: texts.get(value, f"{value:g}")))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    _say_odd(axes, each)


def _say_odd(axes: Axes, each: DepthMap) -> None:
    odd = [
        ("not finite", NONFINITE, not np.isfinite(each.values[~each.missing]).all()),
        ("not read", MISSING, bool(each.missing.any())),
    ]
    for at, (text, colour, there) in enumerate(odd):
        if there:
            place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "fontsize": 8}
            axes.text(1 - 0.14 * at, 1.03, f"■ {text}", color=hexadecimal(colour), **place)
