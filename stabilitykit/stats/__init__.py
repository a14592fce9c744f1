"""Pure functions from tensors to mergeable partials, and from merged partials to numbers."""

from stabilitykit.stats.attention import (
    MIN_VISIBLE_KEYS,
    AttentionCall,
    entropy,
    largest_logit,
    norm_bound,
)
from stabilitykit.stats.output import mean_log_z
from stabilitykit.stats.tensor import max_abs, nonfinite, rms, write_norm_and_range
from stabilitykit.stats.update import norms, scaled_gradient_norms, update_norms

__all__ = [
    "MIN_VISIBLE_KEYS",
    "AttentionCall",
    "entropy",
    "largest_logit",
    "max_abs",
    "mean_log_z",
    "nonfinite",
    "norm_bound",
    "norms",
    "rms",
    "scaled_gradient_norms",
    "update_norms",
    "write_norm_and_range",
]
