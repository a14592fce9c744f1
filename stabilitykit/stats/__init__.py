"""Pure functions from tensors to mergeable partials, and from merged partials to numbers."""

from stabilitykit.stats.attention import MIN_VISIBLE_KEYS, AttentionCall, AttentionReading, read_attention
from stabilitykit.stats.output import mean_log_z
from stabilitykit.stats.tensor import max_abs, nonfinite, norm_and_range, rms, write_norm_and_range
from stabilitykit.stats.update import FlatViews, flat, joined, norm, scaled_gradient_square

__all__ = [
    "MIN_VISIBLE_KEYS",
    "AttentionCall",
    "AttentionReading",
    "FlatViews",
    "flat",
    "joined",
    "max_abs",
    "mean_log_z",
    "nonfinite",
    "norm",
    "norm_and_range",
    "read_attention",
    "rms",
    "scaled_gradient_square",
    "write_norm_and_range",
]
