"""A sweep as SVG, PDF or PNG, by matplotlib: loss over the learning rate, verdicts, what failed first."""

from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from stabilitykit.figures.colours import CRITICAL, FAINT, hexadecimal
from stabilitykit.figures.drawing import files, new_figure, settings
from stabilitykit.figures.scale import Scale, round_values
from stabilitykit.lab.report.landscape import (
    FailureOrder,
    Landscape,
    LandscapeRow,
    number,
    row_title,
    short,
)

_HUES = ("#0072b2", "#b36b00", "#007a5a", "#9a4f86", "#5b5b5b", "#2f9bd0")
_DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
_STATES = {"absent": "#ffffff", "held": "#d5e6f3", "shaky": "#d5e6f3", "some": "#f7d9a0", "all": "#b0202c"}
_COLUMNS = 3
"""Panels beside each other at most."""


def lr_loss_files(shown: Landscape, formats: Sequence[str]) -> dict[str, bytes]:
    """Return final loss over x as files: a panel for each value of the first axis, lines for the others.

    Args:
        shown: How the runs ended.
        formats: Each ``png``, ``svg`` or ``pdf``.
    """
    # One axis beside x is compared best in one panel, several in panels of the first.
    split = 1 if len(shown.row_names) > 1 or len(shown.rows) > len(_HUES) else 0
    panels: dict[tuple[str, ...], list[LandscapeRow]] = {}
    for row in shown.rows:
        panels.setdefault(row.names[:split], []).append(row)
    styles = {rest: at for at, rest in enumerate(dict.fromkeys(row.names[split:] for row in shown.rows))}
    columns = max(1, min(_COLUMNS, len(panels)))
    lines = -(-len(panels) // columns)
    with settings():
        figure = new_figure(max(5.5, 1.0 + 3.0 * columns), 0.7 + 2.7 * max(1, lines))
        all_axes = figure.subplots(max(1, lines), columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (title, rows) in zip(all_axes, panels.items(), strict=False):
            axes.set_title(
                row_title(shown.row_names[:split], title) if title else "", loc="left", fontsize=10
            )
            for row in rows:
                _draw_row(axes, shown, row, styles[row.names[split:]])
            _lay_out(axes, shown)
        for spare in all_axes[len(panels) :]:
            spare.set_visible(False)
        _legend(figure, shown, shown.row_names[split:], list(styles))
        return files(figure, formats)


def verdicts_files(shown: Landscape, formats: Sequence[str]) -> dict[str, bytes]:
    """Return the grid of verdicts as files: how many seeds failed, by sign and colour.

    Args:
        shown: How the runs ended.
        formats: Each ``png``, ``svg`` or ``pdf``.
    """
    states = list(_STATES)
    with settings():
        figure = new_figure(2.6 + 0.55 * len(shown.x_values), 1.3 + 0.34 * len(shown.rows))
        axes = figure.subplots()
        cells = [[states.index(setting.state) for setting in row.settings] for row in shown.rows]
        colours = ListedColormap(list(_STATES.values()))
        axes.pcolormesh(
            cells, cmap=colours, vmin=-0.5, vmax=len(states) - 0.5, edgecolors="white", linewidth=2
        )
        for y, row in enumerate(shown.rows):
            for x, setting in enumerate(row.settings):
                ink = "white" if setting.state == "all" else "#262626"
                axes.text(x + 0.5, y + 0.5, setting.glyph, ha="center", va="center", color=ink)
        _bare(axes)
        axes.invert_yaxis()
        axes.set_xticks([x + 0.5 for x in range(len(shown.x_values))], [number(x) for x in shown.x_values])
        axes.set_yticks(
            [y + 0.5 for y in range(len(shown.rows))],
            [row_title(shown.row_names, row.names) for row in shown.rows],
        )
        axes.set_xlabel(short(shown.x_name), color=hexadecimal(FAINT))
        figure.supxlabel(
            "○ held   ~ recovered   a number: so many seeds failed   ✕ all failed", fontsize=8, ha="center"
        )
        return files(figure, formats)


def failure_order_files(order: FailureOrder, formats: Sequence[str]) -> dict[str, bytes]:
    """Return what left its band first as files: bars beside each other for each group.

    Args:
        order: The counts.
        formats: Each ``png``, ``svg`` or ``pdf``.
    """
    with settings():
        figure = new_figure(3.2 + 1.9 * max(1, len(order.groups)), 0.9 + 0.28 * max(1, len(order.rows)))
        columns = figure.subplots(1, max(1, len(order.groups)), sharex=True, sharey=True, squeeze=False)[0]
        places = range(len(order.rows))
        for at, (axes, group) in enumerate(zip(columns, order.groups, strict=False)):
            counts = [row[1][at] for row in order.rows]
            bars = axes.barh(places, counts, color=hexadecimal((0, 114, 178)), height=0.7)
            axes.bar_label(bars, [str(count) if count else "" for count in counts], padding=3)
            axes.set_title(f"{group} ({order.failing[at]} failed)", loc="left", fontsize=10)
            _bare(axes)
            axes.set_xticks([])
            axes.set_yticks(list(places), [what.replace("@", "  ") for what, _ in order.rows])
        columns[0].set_xlim(0, 1.2 * max(1, order.most))
        columns[0].invert_yaxis()
        return files(figure, formats)


def _draw_row(axes: Axes, shown: Landscape, row: LandscapeRow, style: int) -> None:
    hue, at = _HUES[style % len(_HUES)], shown.positions
    means = [
        (x, each.mean_loss) for x, each in zip(at, row.settings, strict=True) if each.mean_loss is not None
    ]
    line = [mean for _, mean in means]
    # Between labels there is nothing to draw a line through.
    form: dict[str, Any] = (
        {"linestyle": _DASHES[style % len(_DASHES)], "linewidth": 1.4}
        if shown.is_ordered
        else {"linestyle": "none", "marker": "_", "markersize": 16, "markeredgewidth": 2}
    )
    axes.plot([x for x, _ in means], line, color=hue, zorder=2, **form)
    for failed, marker, colour in ((False, "o", hue), (True, "x", hexadecimal(CRITICAL))):
        points = [
            (x, shown.loss_range[1] if ending.counted_loss is None else ending.counted_loss)
            for x, each in zip(at, row.settings, strict=True)
            for ending in each.endings
            if ending.failed is failed
        ]
        if points:
            style_of: dict[str, Any] = {
                "markersize": 4.5,
                "markerfacecolor": "white",
                "clip_on": False,
                "zorder": 3 + failed,
            }
            axes.plot(*zip(*points, strict=True), marker, color=colour, **style_of)


def _lay_out(axes: Axes, shown: Landscape) -> None:
    axes.set_xscale("log" if shown.is_log else "linear")
    axes.set_ylim(*shown.loss_range)
    axes.yaxis.set_major_locator(FixedLocator(round_values(*shown.loss_range)))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    at, texts = shown.positions, [number(x) for x in shown.x_values]
    if shown.is_log:
        at, texts = map(list, zip(*Scale(min(at), max(at), log=True).ticks(), strict=True))
    elif not shown.is_ordered:
        axes.set_xlim(-0.5, len(at) - 0.5)
    axes.set_xticks(at, texts)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(short(shown.x_name), color=hexadecimal(FAINT))
    axes.set_ylabel("final loss (nats)", color=hexadecimal(FAINT))
    axes.label_outer()
    if shown.unigram is not None:
        axes.axhline(shown.unigram, color=hexadecimal(FAINT), linewidth=0.8, linestyle=":", zorder=1)


def _legend(
    figure: Figure, shown: Landscape, names: Sequence[str], styles: Sequence[tuple[str, ...]]
) -> None:
    handles = [
        Line2D([], [], color=_HUES[at % len(_HUES)], linestyle=_DASHES[at % len(_DASHES)], label=label)
        for at, rest in enumerate(styles)
        if (label := row_title(names, rest) if rest else "")
    ]
    handles.append(Line2D([], [], color=hexadecimal(CRITICAL), marker="x", linestyle="none", label="failed"))
    if shown.unigram is not None:
        handles.append(Line2D([], [], color=hexadecimal(FAINT), linestyle=":", label="unigram entropy"))
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=5 if figure.get_figwidth() > 6 else 3,
        frameon=False,
        fontsize=8,
    )


def _bare(axes: Axes) -> None:
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
