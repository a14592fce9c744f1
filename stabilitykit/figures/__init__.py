"""Pictures of data, drawn once for TensorBoard, reports, sweeps and ``diagnose`` alike.

What needs matplotlib stands in modules of its own, which nothing here imports.
"""

from stabilitykit.figures.colours import MISSING, NONFINITE, colours
from stabilitykit.figures.heat_map import heat_map
from stabilitykit.figures.lanes import Lane, Mark
from stabilitykit.figures.loss_curve import LossCurve
from stabilitykit.figures.scale import Scale, step_ticks

__all__ = [
    "MISSING",
    "NONFINITE",
    "Lane",
    "LossCurve",
    "Mark",
    "Scale",
    "colours",
    "heat_map",
    "step_ticks",
]
