"""A run's curves in the terminal, with a line of marks for each kind of incident below them."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from stabilitykit.figures.columns import column_of, columns
from stabilitykit.figures.lanes import Mark
from stabilitykit.figures.loss_scale import loss_scale
from stabilitykit.figures.run_picture import Panel, RunPicture
from stabilitykit.figures.scale import Scale, step_ticks
from stabilitykit.records import Severity
from stabilitykit_cli.render.dots import DotGrid
from stabilitykit_cli.render.lanes import lane_lines
from stabilitykit_cli.render.words import ASCII, OUTCOME_STYLES, SEVERITY_STYLES, UNICODE, Glyphs

_AXIS = 9
"""Columns left of the curves."""


class RunPlot:
    """A run as text: it takes the width and the encoding of the console that it is printed on.

    Args:
        run: What to draw.
        small: Whether it is one of several: without the gradient norm, and lower.
    """

    def __init__(self, run: RunPicture, small: bool = False) -> None:
        self._run = run
        self._panels = run.panels[:1] if small else run.panels
        self._heights = [6] if small else [12, 5]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines of the picture."""
        glyphs = ASCII if options.ascii_only else UNICODE
        width = max(10, options.max_width - _AXIS - 1)
        for line in self._lines(width, glyphs):
            line.no_wrap = True
            line.truncate(options.max_width, overflow="crop" if options.ascii_only else "ellipsis")
            yield line

    def _lines(self, width: int, glyphs: Glyphs) -> Iterator[Text]:
        run = self._run
        outcome = run.verdict.outcome
        yield Text.assemble(
            (outcome, f"bold {OUTCOME_STYLES[outcome]}"), "  ", (glyphs.plain(run.title), "bold")
        )
        for panel, height in zip(self._panels, self._heights, strict=False):
            yield Text(f"{panel.name:>{_AXIS - 1}}", style="dim")
            yield from _curve(panel, run.span, width, height, glyphs)
        yield _step_axis(run.span, width)
        yield from lane_lines(run.verdict.incidents, run.span, width, _AXIS, glyphs)


def _curve(panel: Panel, span: tuple[int, int], width: int, height: int, glyphs: Glyphs) -> Iterator[Text]:
    scale = loss_scale(panel.curve.values)
    grid = DotGrid(width, height, glyphs)
    for lap in panel.curve.laps:
        grid.draw(columns(lap, span, scale, grid.columns))
    labels = _labels(scale, height) if panel.curve.values.size else {}
    styles = _styles(panel.marks, span, width)
    for row in range(height):
        line = Text.assemble((f"{labels.get(row, ''):>{_AXIS - 1}}", "dim"))
        line.append(glyphs.tick if row in labels else glyphs.edge, "dim")
        # One change of colour a stretch, not one a character.
        for style, columns_alike in groupby(range(width), key=lambda column: styles[column]):
            line.append("".join(grid.character(column, row) for column in columns_alike), style)
        line.highlight_words([glyphs.broken], "bold red")
        yield line


def _labels(scale: Scale, height: int) -> dict[int, str]:
    ticks = [(float(scale.fraction(np.array(value))), text) for value, text in scale.ticks()]
    return {height - 1 - min(height - 1, int(position * height)): text for position, text in ticks}


def _styles(marks: list[Mark], span: tuple[int, int], width: int) -> list[str]:
    """Return the colour of the curve in each column: that of an incident where one is."""
    styles = ["cyan"] * width
    for mark in sorted(marks, key=lambda each: (each.severity or Severity.INFO).rank):
        first = column_of(mark.start, span, width)
        last = column_of(span[1] if mark.end is None else mark.end, span, width)
        styles[first : last + 1] = [SEVERITY_STYLES[mark.severity or Severity.INFO]] * (last + 1 - first)
    return styles


def _step_axis(span: tuple[int, int], width: int) -> Text:
    line = " " * (_AXIS + width + 1)
    for step in step_ticks(span[0], span[1] + 1, n=max(2, width // 12)):
        text = str(step)
        at = max(0, min(len(line) - len(text), _AXIS + column_of(step, span, width) - len(text) // 2))
        if not line[max(0, at - 1) : at + len(text) + 1].strip():
            line = line[:at] + text + line[at + len(text) :]
    return Text(line.rstrip(), style="dim")
