"""Pure functions from tensors to mergeable partials, and from merged partials to numbers."""

from stabilitykit.stats.attention import MIN_VISIBLE_KEYS, AttentionCall, AttentionReading, read_attention
from stabilitykit.stats.output import mean_log_z
from stabilitykit.stats.sample import KeptViews, SamplePlan, Sampler, plan_sample
from stabilitykit.stats.tensor import max_abs, nonfinite, rms, write_norm_and_range
from stabilitykit.stats.update import local, norms, scale_by_second_moment

__all__ = [
    "MIN_VISIBLE_KEYS",
    "AttentionCall",
    "AttentionReading",
    "KeptViews",
    "SamplePlan",
    "Sampler",
    "local",
    "max_abs",
    "mean_log_z",
    "nonfinite",
    "norms",
    "plan_sample",
    "read_attention",
    "rms",
    "scale_by_second_moment",
    "write_norm_and_range",
]
