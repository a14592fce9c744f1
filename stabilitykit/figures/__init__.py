"""Pictures of data, drawn once for TensorBoard, reports and sweeps alike."""

from stabilitykit.figures.colours import MISSING, NONFINITE, colours
from stabilitykit.figures.heat_map import heat_map
from stabilitykit.figures.scale import Scale, step_ticks

__all__ = ["MISSING", "NONFINITE", "Scale", "colours", "heat_map", "step_ticks"]
