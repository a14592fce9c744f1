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
    sample_pieces,
)
from stabilitykit.stats.detail import LineDetail, line_detail, silent_share
from stabilitykit.stats.output import mean_log_z
from stabilitykit.stats.router import RouterSums, router_sums
from stabilitykit.stats.sample import KeptViews, SamplePlan, Sampler, plan_sample
from stabilitykit.stats.tensor import (
    fp16_headroom,
    max_abs,
    nonfinite,
    norm_and_range,
    rms,
    write_norm_and_range,
)
from stabilitykit.stats.update import as_real, local, norms, scale_by_second_moment

__all__ = [
    "MIN_VISIBLE_KEYS",
    "AttentionCall",
    "AttentionReading",
    "KeptViews",
    "LineDetail",
    "LogitRows",
    "RouterSums",
    "SamplePlan",
    "Sampler",
    "as_real",
    "fp16_headroom",
    "line_detail",
    "local",
    "max_abs",
    "mean_log_z",
    "nonfinite",
    "norm_and_range",
    "norm_level",
    "norms",
    "plan_sample",
    "read_attention",
    "read_logits",
    "rms",
    "router_sums",
    "sample_logits",
    "sample_pieces",
    "scale_by_second_moment",
    "silent_share",
    "write_norm_and_range",
]
