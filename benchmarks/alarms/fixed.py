"""Rules with a fixed limit that need no calibration, each an alarm after three steps in a row."""

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.alarms.announcing import Alarms, begun
from benchmarks.alarms.runs import Rows, Run, Series
from benchmarks.alarms.series import ARMED, trailing_median
from benchmarks.alarms.signals import excess, first_over_last, known

SMOOTH = 7
"""Values of whose median the rules on the loss are."""

FixedRule = Callable[[Run], Alarms]
"""Takes a run and returns the steps at which it announces an alarm."""


def _beyond(run: Run, rows: Rows, limit: float) -> Alarms:
    """Return the steps at which the largest of some sites' values has been above a limit three times."""
    if not rows.shape[1]:
        return np.empty(0, np.int64)
    scores: Series = np.fmax.reduce(rows, axis=1)
    scores[:ARMED] = np.nan
    return run.steps[begun(scores, limit)]


def low_share(run: Run, limit: float = 0.01) -> Alarms:
    """Announce a block whose gradient norm is below a share of the global one."""
    return _beyond(run, -known(run, "grad/share", blocks=True), -limit)


def uneven_gradient(run: Run, limit: float = 30.0) -> Alarms:
    """Announce gradient norms of the first and the last block that are this many times apart."""
    apart = np.abs(np.log(first_over_last(run)))
    return _beyond(run, apart, float(np.log(limit)))


def low_rms_t(run: Run, limit: float = 0.1) -> Alarms:
    """Announce a block whose gradients are this far below Adam's root second moment."""
    return _beyond(run, -known(run, "optim/rms_t", blocks=True), -limit)


def high_rms_t(run: Run, limit: float = 2.3) -> Alarms:
    """Announce a block whose gradients are this far above it (Wortsman 2304.13013)."""
    return _beyond(run, known(run, "optim/rms_t", blocks=True), limit)


def alike_tokens(run: Run, limit: float = 0.01) -> Alarms:
    """Announce a block behind which tokens' mean cosine is above 1 - ``limit``; a reading lasts ten steps."""
    return _beyond(run, -known(run, "act/token_spread"), -limit)


def high_logits(run: Run, limit: float) -> Alarms:
    """Announce attention logits above a limit."""
    return _beyond(run, known(run, "attn/logit_max"), limit)


def parked(run: Run, steps: int, margin: float = 0.1) -> Alarms:
    """Announce a loss whose median of 7 has been at its batches' unigram cross-entropy for so many steps."""
    smooth = trailing_median(excess(run)[:, None], SMOOTH)[:, 0]
    return run.steps[begun(-np.abs(smooth), -margin, steps)]


FIXED: dict[str, FixedRule] = {
    "share < 1 %": low_share,
    "first/last gradient > 30": uneven_gradient,
    "RMS_t < 0.1": low_rms_t,
    "RMS_t > 2.3": high_rms_t,
    "token spread < 0.01": alike_tokens,
    "max logit > 100": partial(high_logits, limit=1e2),
    "max logit > 1,000": partial(high_logits, limit=1e3),
    "max logit > 10,000": partial(high_logits, limit=1e4),
    "at the unigram distribution for 25 steps": partial(parked, steps=25),
    "at the unigram distribution for 40 steps": partial(parked, steps=40),
}
"""All of them, by what they say."""
