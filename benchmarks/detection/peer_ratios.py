"""Peers' rules that compare the loss with a multiple of what it was; written anew from their formulas."""

from collections import deque

import numpy as np

from benchmarks.detection.log import Values
from benchmarks.detection.windows import mean, trailing

Flags = np.ndarray
"""One truth value a point."""


def lightning(
    loss: Values, window: int = 10, warmup: int = 1, rtol: float = 2.0, admit: bool = False
) -> Flags:
    """Flag as Lightning 2.6.6 does, ``lightning.fabric.utilities.spike.SpikeDetection`` with its defaults.

    A spike is a value that is not finite, or one above the last value let in whose distance to the mean of
    the last ``window`` values let in is at least ``rtol`` times that mean. Lightning ends the run at the
    first spike; here the run goes on. Its code does not let spikes in, so a loss that stays high is a spike
    for good; with ``admit`` the finite ones are let in, which is kinder to it.
    """
    past: deque[float] = deque(maxlen=window)
    flags = np.zeros(len(loss), dtype=bool)
    last = 0.0
    for place, value in enumerate(loss.tolist()):
        if place >= warmup:
            usual = sum(past) / len(past) if past else np.nan
            far = abs(value - usual) >= abs(rtol * usual)
            flags[place] = not np.isfinite(value) or (value > last and far)
        if not flags[place] or (admit and np.isfinite(value)):
            last = value
            if not np.isnan(value):
                past.append(value)
    return flags


def kill_loss_spike(loss: Values, patience: int = 4, multiplier: float = 2.0) -> Flags:
    """Flag as llm-foundry 0.22.0 does, ``llmfoundry.callbacks.KillLossSpike`` with its defaults.

    The window is 100 values, or 5 % of the run where that is more. Flagged are the fifth and later values
    in a row at ``multiplier`` times the window's mean or more; and, from two windows on, every value before
    which half of the window lies above a cap, the largest loss of the first window or 10. The cap is only set
    when the window is 100. Each value of the log is taken for a batch, and its length for the run's.
    """
    window = max(100, round(0.05 * len(loss)))
    usual = trailing(loss, window, mean)
    cap = min(10.0, loss[:window].max()) if window == 100 and len(loss) >= window else 10.0
    high = trailing((loss > cap).astype(float), window, mean)
    flags = np.zeros(len(loss), dtype=bool)
    streak = 0
    for place in range(window, len(loss)):
        streak = streak + 1 if loss[place] >= multiplier * usual[place] else 0
        flags[place] = streak > patience or (place + 1 >= 2 * window and high[place] >= 0.5)
    return flags


def megatron(loss: Values, factor: float = 10.0, samples: int = 100) -> Flags:
    """Flag as Megatron-LM does (megatron-core 0.16.1, ``RerunStateMachine.is_unexpectedly_large``).

    Flagged is what reaches ``factor`` times the largest of the first ``samples`` finite values. A value
    that is not finite is left to a separate check.
    """
    finite = np.isfinite(loss)
    size = np.abs(np.where(finite, loss, 0.0))
    seen = np.cumsum(finite)
    largest = size[finite & (seen <= samples)].max(initial=0.0)
    flags: Flags = finite & (seen > samples) & (size >= factor * largest)
    return flags


def trainpulse(loss: Values, factor: float = 5.0, window: int = 50) -> Flags:
    """Flag as trainpulse 0.4.0 does, ``trainpulse.detectors.LossSpikeDetector`` with its defaults.

    Flagged is a value above ``factor`` times the mean of the last ``window`` values, where that is positive.
    """
    usual = trailing(loss, window, mean)
    return (usual > 0) & (loss > factor * usual)
