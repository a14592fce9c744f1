"""Paired ratios of running times: two calls in turn, in alternating order, over many short rounds.

Absolute times on a shared machine say little; the ratio of two neighbours in time says more. Time is that of
the processor, since on one thread the rest is only waiting for other programs.
"""

import gc
import time
from collections.abc import Callable, Sequence

import numpy as np


def paired_times(
    calls: Sequence[Callable[[], object]], rounds: int, seconds: float
) -> np.ndarray:  # rounds by calls
    """Return the processor seconds a call takes, for every round and call.

    Args:
        calls: What is timed; each runs in every round.
        rounds: How often all of them run; the order turns around from round to round.
        seconds: About how long each runs in a round.
    """
    repeats = [max(1, round(seconds / _once(call))) for call in calls]
    times = np.empty((rounds, len(calls)))
    gc.collect()
    gc.disable()
    try:
        for n in range(rounds):
            order = range(len(calls)) if n % 2 else reversed(range(len(calls)))
            for place in order:
                call = calls[place]
                start = time.process_time()
                for _ in range(repeats[place]):
                    call()
                times[n, place] = (time.process_time() - start) / repeats[place]
    finally:
        gc.enable()
    return times


def _once(call: Callable[[], object]) -> float:
    """Return how long one call takes once it is warm."""
    times = []
    for _ in range(4):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)
