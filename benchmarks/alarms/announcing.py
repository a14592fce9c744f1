"""From a score to the steps at which it alarms, and from those to episodes."""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
"""One number a step, causal; NaN where a method cannot say."""
Alarms = NDArray[np.int64]
"""Steps at which a method is in alarm, or announces one; ascending."""

HOLD = 3
"""Steps in a row that a score has to be above its threshold; the alarm is announced at the last of them."""
MERGE = 25
"""Alarms at most this many steps apart are one episode."""
WITNESS = 20
"""Steps within which a second method has to agree."""


def held(scores: Scores, hold: int = HOLD) -> Scores:
    """Return the least of each score and the ``hold - 1`` before it: what a threshold has to be below.

    It is -∞ where one of them is NaN, or there are fewer: there is no alarm then.
    """
    if len(scores) == 0:
        return scores
    padded = np.concatenate([np.full(hold - 1, -np.inf), np.where(np.isnan(scores), -np.inf, scores)])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, hold).min(axis=1))


def alarms(scores: Scores, threshold: float, hold: int = HOLD) -> Alarms:
    """Return the positions at which a score was above a threshold for ``hold`` steps in a row.

    An alarm lasts as long as the score stays there, so that one that stays is one episode.
    """
    return np.flatnonzero(held(scores, hold) > threshold).astype(np.int64)


def begun(scores: Scores, threshold: float, hold: int = HOLD) -> Alarms:
    """Return the first alarm of each stretch in alarm, for a rule that is to speak once."""
    return episodes(alarms(scores, threshold, hold), merge=1)


def episodes(announced: Alarms, merge: int = MERGE) -> Alarms:
    """Return the first steps of the episodes: of alarms at most ``merge`` steps apart."""
    if len(announced) == 0:
        return announced
    begins = np.concatenate([[True], np.diff(announced) > merge])
    return np.asarray(announced[begins])


def both(first: Alarms, second: Alarms, within: int = WITNESS) -> Alarms:
    """Return the alarms of either that the other backs: it was in alarm at most ``within`` steps before."""
    return np.union1d(_backed(first, second, within), _backed(second, first, within)).astype(np.int64)


def either(first: Alarms, second: Alarms) -> Alarms:
    """Return the alarms of both."""
    return np.union1d(first, second).astype(np.int64)


def _backed(announced: Alarms, by: Alarms, within: int) -> Alarms:
    before = np.searchsorted(by, announced, side="right")
    latest = np.concatenate([[np.iinfo(np.int64).min // 2], by])[before]
    return np.asarray(announced[announced - latest <= within])
