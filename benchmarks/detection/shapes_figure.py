"""One curve, the truth about it, and what each of several tools said: a small picture for the documents."""

from collections.abc import Mapping, Sequence

from stabilitykit.figures.drawing import file_bytes, new_figure, settings
from stabilitykit.figures.lanes import Lane, Mark
from stabilitykit.figures.loss_curve import LossCurve
from stabilitykit.figures.panels import draw_bands, draw_curve, draw_lanes, draw_step_axis
from stabilitykit.records import Severity

TRUTH = "what happened"
WIDTH, CURVE, LANE, MARGIN = 7.2, 1.7, 0.2, 0.85
"""Inches."""


def failure_panel(
    curve: LossCurve,
    truth: Sequence[tuple[int, int | None]],
    tools: Mapping[str, Sequence[tuple[int, int | None, int]]],
    title: str,
) -> bytes:
    """Return an SVG: the curve with the truth shaded, and below it a line of marks for each tool.

    Args:
        curve: The loss.
        truth: First and last step of each event; no last step means to the end. Empty for a healthy run.
        tools: For each tool the first step, the last step and the step of announcement of each of its alarms,
            in the order in which they are to be shown.
        title: What the curve shows.
    """
    events = tuple(Mark(start, end) for start, end in truth)
    lanes = [Lane(TRUTH, events)]
    lanes += [
        Lane(name, tuple(Mark(*each, Severity.WARNING) for each in said)) for name, said in tools.items()
    ]
    with settings():
        below = LANE * len(lanes)
        figure = new_figure(WIDTH, CURVE + below + MARGIN)
        above, strip = figure.subplots(2, 1, sharex=True, height_ratios=[CURVE, below])
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        draw_curve(above, curve, "loss")
        draw_step_axis(above, curve.span, named=False)
        draw_step_axis(strip, curve.span)
        draw_bands(above, events)
        draw_lanes(strip, lanes)
        return file_bytes(figure, "svg")
