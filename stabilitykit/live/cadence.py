"""Which steps are observed: every n-th, or as many as a budget of time allows."""

import math
from collections import deque
from statistics import median
from time import perf_counter

from stabilitykit.errors import ConfigError

_SAMPLE = 8
"""Steps of each kind, observed and not, whose median times are compared."""

_MAX_EVERY = 1000


class Cadence:
    """Observes every n-th step.

    Args:
        every_n_steps: n, from 1 on.

    Raises:
        ConfigError: It is no whole number from 1 on.
    """

    def __init__(self, every_n_steps: int = 1) -> None:
        if isinstance(every_n_steps, bool) or not isinstance(every_n_steps, int) or every_n_steps < 1:
            raise ConfigError(f"every_n_steps: got {every_n_steps!r}; must be a whole number from 1 on")
        self.every_n_steps = every_n_steps

    def is_due(self, step: int) -> bool:
        """Return whether a step is to be observed; the same for every question about one step."""
        return step % self.every_n_steps == 0

    def finish(self, step: int) -> None:
        """Take note that a step is over."""

    def follow(self, every_n_steps: int) -> None:
        """Leave so many steps to the next observed one, where another process has chosen that.

        Args:
            every_n_steps: Steps, from 1 on.
        """
        self.every_n_steps = every_n_steps


class BudgetCadence(Cadence):
    """Observes so often that observing takes a given share of the time.

    What an observed step costs is the difference of two medians: of the last observed steps' wall-clock
    time and of the last others'. To have both, it begins with every other step, and even where the budget
    would allow every step it leaves out one in 32. Time is the whole loop's, from the end of a step to the
    end of the next.

    Args:
        budget: Share of the unobserved step's time, above 0 and below 1; 0.02 is two per cent.
        at_most_every: The cadence is never denser than this.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(self, budget: float, at_most_every: int = 1) -> None:
        if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 < budget < 1:
            raise ConfigError(f"budget: got {budget!r}; must be a share above 0 and below 1, such as 0.02")
        super().__init__(at_most_every)
        self._budget, self._floor = budget, at_most_every
        self._times: dict[bool, deque[float]] = {seen: deque(maxlen=_SAMPLE) for seen in (False, True)}
        self.every_n_steps = max(2, at_most_every)
        self._next = 0
        self._since_rest = 0
        self._last_end: float | None = None
        self._fresh = 0

    def is_due(self, step: int) -> bool:
        """Return whether a step is to be observed."""
        return step >= self._next

    def finish(self, step: int) -> None:
        """Take note that a step is over, and how long it took."""
        now, was_due = perf_counter(), self.is_due(step)
        if self._last_end is not None:
            self._times[was_due].append(now - self._last_end)
            self._fresh += was_due
        self._last_end = now
        if not was_due:
            return
        self._since_rest += 1
        is_rest = self.every_n_steps == 1 and self._since_rest >= 32
        self._since_rest = 0 if is_rest or self.every_n_steps > 1 else self._since_rest
        self._next = step + self.every_n_steps + is_rest
        # What is wanted from now on counts from the next observed step, at which all processes agree on it.
        if self._fresh >= _SAMPLE:
            self._adapt()

    def _adapt(self) -> None:
        observed, others = (median(self._times[seen]) if self._times[seen] else 0.0 for seen in (True, False))
        if others <= 0:
            return
        self._fresh = 0
        # A hair less, so that rounding does not make 5 of 5.000000001.
        wanted = math.ceil((observed - others) / (self._budget * others) - 1e-6)
        self.every_n_steps = min(max(wanted, self._floor, 1), _MAX_EVERY)


def cadence(every_n_steps: int, budget: float | None) -> Cadence:
    """Return the cadence that two arguments ask for.

    Args:
        every_n_steps: Every how many steps, at most.
        budget: Share of the time that observing may take; None for no limit.

    Raises:
        ConfigError: An argument is out of range.
    """
    return Cadence(every_n_steps) if budget is None else BudgetCadence(budget, every_n_steps)
