"""The rules on the readings of the first step: what is read, its limit and its source. No torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.probe.checks.report import CheckFinding
from stabilitykit.records import Severity

Readings = Mapping[str, float]
Measure = Callable[[TransformerConfig, Readings], float | None]
_SMALLER = (
    "a norm in the branches: --arch pre_norm",
    "closed branches: --set model.residual.gate=scalar",
    "smaller weights at the start: --set model.initialization.scheme=gpt2",
)


@dataclass(frozen=True, slots=True)
class ReadingRule:
    """A number of the first step, and the limit that it is held against."""

    name: str
    measure: Measure
    """The number; None where the model has none."""
    limit: float
    """Above it the rule speaks."""
    severity: Severity
    """Of passing the limit."""
    message: str
    """What the number is; ``{value}`` stands for it."""
    beyond: str
    """What follows where the limit is passed."""
    source: str
    """Where the limit comes from."""
    remedies: tuple[str, ...] = ()
    """What to try then."""

    def judge(self, model: TransformerConfig, readings: Readings) -> CheckFinding | None:
        """Return the rule's finding: ``info`` within the limit, None where the model has no such number.

        Args:
            model: The model's configuration.
            readings: Those of the first step, by tag.
        """
        value = self.measure(model, readings)
        if value is None:
            return None
        told = self.message.format(value=f"{value:.3g}")
        # A number that is none passes every limit.
        if value <= self.limit:
            return CheckFinding(self.name, Severity.INFO, value, self.limit, told)
        message = f"{told}: {self.beyond}"
        return CheckFinding(self.name, self.severity, value, self.limit, message, self.remedies)


def failure_at_start(readings: Readings) -> CheckFinding | None:
    """Return the finding that the first step's loss is not a number, which no run recovers from.

    Args:
        readings: Those of the first step, by tag.
    """
    loss = readings["train/loss"]
    if math.isfinite(loss):
        return None
    message = f"the loss of the first step is {loss}: something overflows before any training"
    return CheckFinding("nonfinite", Severity.CRITICAL, loss, None, message, _SMALLER)


def _first_over_last(model: TransformerConfig, readings: Readings) -> float | None:
    gradients = _by_depth("grad/norm/blocks.", "", readings)
    return _over(gradients[0], gradients[-1]) if gradients else None


def _last_over_first(model: TransformerConfig, readings: Readings) -> float | None:
    gradients = _by_depth("grad/norm/blocks.", "", readings)
    return _over(gradients[-1], gradients[0]) if gradients else None


def _growth_exponent(model: TransformerConfig, readings: Readings) -> float | None:
    """Return p in RMS(x_L)/RMS(x_1) = L^p, of the line behind the last block and behind the first."""
    line = _by_depth("act/rms/blocks.", "resid_post", readings)
    if len(line) < 2:
        return None
    growth = _over(line[-1], line[0])
    return math.log(growth) / math.log(len(line)) if growth > 0 else growth


def _first_branch_over_embedding(model: TransformerConfig, readings: Readings) -> float | None:
    branches = _by_depth("act/rms/blocks.", "attn_out", readings)
    line = _by_depth("act/rms/blocks.", "resid_pre", readings)
    return _over(branches[0], line[0]) if branches and line else None


def _eps_over_norm_input(model: TransformerConfig, readings: Readings) -> float | None:
    """Return eps over the smallest mean square that a norm is given."""
    if model.norm.kind not in ("rmsnorm", "layernorm"):
        return None
    inputs = _by_depth("act/rms/", "norm_in", readings)
    return _over(model.norm.eps, min(inputs) ** 2) if inputs else None


def _largest_attention_logit(model: TransformerConfig, readings: Readings) -> float | None:
    return max(_by_depth("attn/logit_max/", "", readings), default=None)


def _loss_above_uniform(model: TransformerConfig, readings: Readings) -> float | None:
    return readings["train/loss"] - math.log(model.vocab_size)


def _by_depth(family: str, ending: str, readings: Readings) -> list[float]:
    """Return the readings whose tags begin and end so; sorting tags is sorting by depth."""
    return [readings[tag] for tag in sorted(readings) if tag.startswith(family) and tag.endswith(ending)]


def _over(above: float, below: float) -> float:
    if below:
        return above / below
    return math.inf if above else math.nan


RULES: tuple[ReadingRule, ...] = (
    ReadingRule(
        "loss_at_start",
        _loss_above_uniform,
        limit=1.0,
        severity=Severity.WARNING,
        message="the loss is {value} nats above ln V, that of knowing nothing",
        beyond="the logits are spread too widely before anything is learnt",
        source="Gaussian logits of width σ cost σ²/2 nats: 1 is σ = √2",
        remedies=(
            "a smaller head at the start: --set model.initialization.zero_head=true",
            "a norm before the head: --set model.final_norm=true",
        ),
    ),
    ReadingRule(
        "gradient_first_over_last",
        _first_over_last,
        limit=50.0,
        severity=Severity.WARNING,
        message="the first block's gradient is {value} times the last one's",
        beyond="gradients explode on their way down",
        source="recipes/out_norm.yaml: out-norm without QK-norm passes it at depth 16, and learns slower",
        remedies=("QK-norm, where the norm stands at the branch's end: --set model.attention.qk_norm=head",),
    ),
    ReadingRule(
        "gradient_last_over_first",
        _last_over_first,
        limit=50.0,
        severity=Severity.WARNING,
        message="the last block's gradient is {value} times the first one's",
        beyond="gradients vanish on their way down",
        source="the limit above, the other way round",
        remedies=("a norm at the branch's beginning: --arch pre_norm or double_norm",),
    ),
    ReadingRule(
        "attention_logits",
        _largest_attention_logit,
        limit=30.0,
        severity=Severity.WARNING,
        message="the largest attention logit is {value}",
        beyond="attention looks at single tokens before anything is learnt",
        source="this project's presets start below 10; out-norm without QK-norm starts above 30 at depth 6",
        remedies=("QK-norm: --set model.attention.qk_norm=head",),
    ),
    ReadingRule(
        "residual_growth",
        _growth_exponent,
        limit=2.0,
        severity=Severity.WARNING,
        message="the residual stream grows from first to last block as the depth to the power {value}",
        beyond="blocks multiply the line where they should add to it",
        source="branches of one size give 1/2, and 1 where all point the same way",
        remedies=_SMALLER,
    ),
    ReadingRule(
        "norm_epsilon",
        _eps_over_norm_input,
        limit=1.0,
        severity=Severity.WARNING,
        message="eps is {value} of the smallest mean square that a norm is given",
        beyond="that norm no longer normalises: what it gives is 30 % short or more",
        source="a norm gives 1/√(1 + eps/mean square) of unit size",
        remedies=("a smaller eps: --set model.norm.eps=1e-8", "larger embeddings or weights at the start"),
    ),
    ReadingRule(
        "embedding_scale",
        _first_branch_over_embedding,
        limit=10.0,
        severity=Severity.INFO,
        message="the first branch is {value} times the embedding that it is added to",
        beyond="large models with so small embeddings spike (Takase et al. 2312.16903); small ones here held",
        source="2312.16903 asks for embeddings of size 1 before pre-norm; the limit is a tenth of the line",
        remedies=("embeddings of size 1: --set model.initialization.embed_std=1",),
    ),
)
"""All rules on the first step's readings."""
