"""The band of a claim, and what becomes of the claim by an interval."""

import math
from typing import Literal, Self

from pydantic import model_validator

from stabilitykit.lab.validation import Config, refusal

ClaimOutcome = Literal["holds", "does not hold", "undecided"]


class Banded(Config):
    """What has a band."""

    band: tuple[float | None, float | None]
    """The claim holds where the whole 95 % interval lies within; null is no end."""

    @model_validator(mode="after")
    def _has_an_inside(self) -> Self:
        low, high = self.ends
        if not low < high or (low, high) == (-math.inf, math.inf):
            raise refusal("band", f"got {list(self.band)}; must be [low, high], low below high, one not null")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The band, infinite where it has no end."""
        low, high = self.band
        return (-math.inf if low is None else low), (math.inf if high is None else high)

    def outcome(self, low: float, high: float) -> ClaimOutcome:
        """Return what becomes of the claim.

        Args:
            low: Lower end of the interval.
            high: Its upper end.
        """
        first, last = self.ends
        if first <= low and high <= last:
            return "holds"
        return "does not hold" if high < first or low > last else "undecided"
