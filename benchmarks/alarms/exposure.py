"""Which steps of a run are healthy: an alarm that starts there is false."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.alarms.labels import FAILED, Kind, Label


def horizon(n_steps: int) -> int:
    """Return how many steps before an event an alarm belongs to it: 200, or a fifth of a shorter run."""
    return min(200, n_steps // 5)


def healthy_steps(label: Label) -> NDArray[np.bool_]:
    """Return at which steps a run is healthy beyond doubt, and thresholds may be chosen.

    All of a healthy run; of a run with spikes what is outside of them and of the horizon before them. None of
    a run that failed, is grey or was disturbed.
    """
    if label.kind is Kind.HEALTHY:
        return np.ones(label.n_steps, bool)
    if label.kind is Kind.SPIKING:
        return _outside(label)
    return np.zeros(label.n_steps, bool)


def early_steps(label: Label) -> NDArray[np.bool_]:
    """Return the steps before a failed run's horizon, or before a fault, where an alarm is false too.

    Of a failed run only the strict count says so: one that is doomed may be sick long before.
    """
    steps = np.arange(label.n_steps)
    if label.kind in FAILED and label.events:
        return np.asarray(steps < label.events[0].onset - horizon(label.n_steps))
    if label.kind is Kind.INJECTED and label.events:
        return np.asarray(steps < label.events[0].since)
    return np.zeros(label.n_steps, bool)


def _outside(label: Label) -> NDArray[np.bool_]:
    steps = np.ones(label.n_steps, bool)
    for event in label.events:
        end = label.n_steps if event.recovery is None else event.recovery
        steps[max(0, event.onset - horizon(label.n_steps)) : end + 1] = False
    return steps
