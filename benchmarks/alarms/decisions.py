"""Which kinds have earned to alarm: a rule that was written down before the locked runs were opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.alarms.conditional import Conditional
from benchmarks.alarms.intervals import Resamples
from benchmarks.alarms.labels import Labels
from benchmarks.alarms.methods import Method
from benchmarks.alarms.score import HEADLINE, Score
from benchmarks.alarms.scoring import Scorer
from stabilitykit.lab.sweep.compare.intervals import Estimate
from stabilitykit.records import KINDS

MOST = 1.0
"""False alarms per 1,000 healthy steps: the upper end of the interval must not be above it."""
MOST_FLAGGED = 0.06
"""Share of the healthy runs with a false alarm."""
LOSS = "loss slope"
"""The best rule that knows but the loss, at its own calibrated threshold."""
OF_EVENTS = frozenset({"loss_spike", "divergence", "stuck", "nonfinite", "gradient_spike", "update_spike"})
"""They say that something has happened, on the step; a lead is not asked of them."""
SIGNAL = {
    "vanishing_gradient": "share falling",
    "activation_blow_up": "residual RMS",
    "attention_logit_growth": "max logit bound",
    "entropy_collapse": "entropy rising",
    "output_logit_drift": "log Z",
    "norm_gain_drift": "norm gain",
    "rank_collapse": "token spread falling",
}
"""Of each other kind: what it looks at."""


@dataclass(frozen=True)
class Decision:
    """What a kind has earned."""

    kind: str
    false: Estimate
    """Per 1,000 healthy steps."""
    gain: Estimate
    """Recall at a lead of 5, less chance."""
    over_loss: Estimate
    """Less that of the loss alone, paired."""
    flagged: Estimate
    """Share of the healthy runs."""
    auc: Estimate | None
    """Of its signal by step 40, at equal configuration and rate; None for a kind of events."""
    earned: bool
    alarms: bool
    """Whether it alarms in the product, on some condition at least."""


def decisions(
    methods: Mapping[str, Method],
    scores: Mapping[str, Score],
    conditional: Mapping[str, Sequence[Conditional]],
    natural: Labels,
    resamples: Resamples,
) -> list[Decision]:
    """Return what each kind has earned on the open runs; one that alarms is judged by its alarms alone.

    It is silent: both limits on false alarms are kept. And it is a kind of events; or it leads better than
    chance, and either tells failing from other seeds at equal configuration and rate, or has no false alarm.

    Args:
        methods: All, by name.
        scores: Theirs.
        conditional: How well signals tell seeds of one setting apart.
        natural: Labels of the open natural runs.
        resamples: Of the same runs.
    """
    scorer = Scorer(natural, resamples)
    found = []
    for kind in KINDS:
        alarms = f"{kind}, alarms" in methods
        name = f"{kind}, alarms" if alarms else kind
        score = scores[name]
        over = scorer.difference(methods[name].alarms, methods[LOSS].alarms)
        false, gain = score.healthy, score.anytime.gain[HEADLINE]
        auc = conditional[SIGNAL[kind]][-1].auc if kind in SIGNAL else None
        silent = (false.per_thousand.high or 0) <= MOST and (score.flagged.value or 0) <= MOST_FLAGGED
        knows = auc is not None and (_above(auc, 0.5) or not false.episodes)
        earned = silent and (kind in OF_EVENTS or (_above(gain, 0) and knows))
        found.append(Decision(kind, false.per_thousand, gain, over, score.flagged, auc, earned, alarms))
    return found


def _above(value: Estimate, than: float) -> bool:
    return value.low is not None and value.low > than


def kinds_of(decided: Sequence[Decision]) -> tuple[str, ...]:
    """Return the kinds that alarm in the product, as their methods are called."""
    return tuple(f"{each.kind}, alarms" for each in decided if each.alarms)
