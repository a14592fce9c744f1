"""Incidents on the axis of steps, one line a kind, and under it the steps in figures."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from stabilitykit.figures.columns import column_of
from stabilitykit.figures.lanes import Lane, Mark, incident_lanes
from stabilitykit.records import Incident, Severity
from stabilitykit_cli.render.words import ASCII, SEVERITY_STYLES, Glyphs


def lane_lines(
    incidents: Sequence[Incident], span: tuple[int, int], width: int, margin: int, glyphs: Glyphs
) -> Iterator[Text]:
    """Yield two lines a kind, its marks below the curve and its name with its steps, and what the marks mean.

    Args:
        incidents: All incidents of a run.
        span: First and last step of the curve.
        width: Columns of the curve.
        margin: Columns to the left of it.
        glyphs: What the terminal can show.
    """
    lanes = incident_lanes(incidents)
    for lane in lanes:
        yield Text.assemble(" " * margin, _marks(lane, span, width, glyphs))
        name = lane.label.replace("×", "x") if glyphs is ASCII else lane.label
        yield Text.assemble(" " * margin, name, (f": {_steps(lane.marks, width - len(name) - 2)}", "dim"))
    if lanes:
        shapes = f"{glyphs.warning} warning  {glyphs.critical} critical  {glyphs.filled} out of its band"
        yield Text(" " * margin + shapes, style="dim")


def _marks(lane: Lane, span: tuple[int, int], width: int, glyphs: Glyphs) -> Text:
    cells = [(" ", "")] * width
    severest_last = sorted(lane.marks, key=lambda mark: _severity(mark).rank)
    for mark in severest_last:
        first = column_of(mark.start, span, width)
        last = width - 1 if mark.end is None else column_of(mark.end, span, width)
        cells[first : last + 1] = [(glyphs.filled, SEVERITY_STYLES[_severity(mark)])] * (last + 1 - first)
    for mark in severest_last:
        shape = glyphs.critical if mark.severity is Severity.CRITICAL else glyphs.warning
        if mark.detected is not None:
            cells[column_of(mark.detected, span, width)] = shape, SEVERITY_STYLES[_severity(mark)]
    return Text.assemble(*cells)


def _steps(marks: Sequence[Mark], room: int) -> str:
    """Return the steps of marks, as many as fit, and how many more there are."""
    told = ""
    for index, mark in enumerate(marks):
        more = f" and {len(marks) - index - 1} more" if index < len(marks) - 1 else ""
        longer = f"{told}, {_span(mark)}" if told else _span(mark)
        if told and len(longer) + len(more) > room:
            return f"{told} and {len(marks) - index} more"
        told = longer
    return told


def _span(mark: Mark) -> str:
    if mark.end is None:
        return f"{mark.start} on"
    return str(mark.start) if mark.end == mark.start else f"{mark.start}-{mark.end}"


def _severity(mark: Mark) -> Severity:
    return mark.severity or Severity.INFO
