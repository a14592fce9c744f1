"""Pure functions from tensors to mergeable partials, and from merged partials to numbers."""

from stabilitykit.stats.attention import (
    MIN_VISIBLE_KEYS,
    AttentionCall,
    AttentionReading,
    LogitRows,
    norm_level,
    read_attention,
    read_logits,
    sample_logits,
)
from stabilitykit.stats.output import mean_log_z
from stabilitykit.stats.tensor import max_abs, nonfinite, norm_and_range, rms, write_norm_and_range
from stabilitykit.stats.update import FlatViews, flat, joined, norm, scaled_gradient_square

__all__ = [
    "MIN_VISIBLE_KEYS",
    "AttentionCall",
    "AttentionReading",
    "FlatViews",
    "LogitRows",
    "flat",
    "joined",
    "max_abs",
    "mean_log_z",
    "nonfinite",
    "norm",
    "norm_and_range",
    "norm_level",
    "read_attention",
    "read_logits",
    "rms",
    "sample_logits",
    "scaled_gradient_square",
    "write_norm_and_range",
]
