"""Pictures of data, drawn once for TensorBoard, reports, sweeps and ``diagnose`` alike.

What needs matplotlib stands in modules of its own, which nothing here imports.
"""

from stabilitykit.figures.colours import MISSING, NONFINITE, colours
from stabilitykit.figures.heat_map import heat_map
from stabilitykit.figures.lanes import Lane, Mark
from stabilitykit.figures.loss_curve import LossCurve
from stabilitykit.figures.picture_file import picture_writer
from stabilitykit.figures.run_picture import RunCurves, RunPicture
from stabilitykit.figures.scale import Scale, step_ticks

__all__ = [
    "MISSING",
    "NONFINITE",
    "Lane",
    "LossCurve",
    "Mark",
    "RunCurves",
    "RunPicture",
    "Scale",
    "colours",
    "heat_map",
    "picture_writer",
    "step_ticks",
]
