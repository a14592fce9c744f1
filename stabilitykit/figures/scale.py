"""Axes: which values a figure spans, where its ticks stand and what they are called."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

DECADES = 12
"""A logarithmic scale spans at most this many decades below its highest value."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear or logarithmic way from values to positions between 0 and 1."""

    low: float
    """The value at position 0."""
    high: float
    """The value at position 1; larger than ``low``."""
    log: bool = False

    @classmethod
    def of(cls, values: Float[np.ndarray, "*shape"], log: bool = False) -> "Scale":
        """Return the scale that spans the finite values.

        Args:
            values: What is to be shown; NaN and Inf are passed over, and on a logarithmic scale what
                is not positive.
            log: Whether equal ratios, not equal differences, are equally far apart.

        Returns:
            A scale of some width even where all values are the same, or none can be used.
        """
        usable = values[np.isfinite(values) & ((values > 0) | (not log))].astype(float)
        if not usable.size:
            return cls(0.1, 1.0, log) if log else cls(0.0, 1.0)
        low, high = float(usable.min()), float(usable.max())
        if log:
            low = max(low, high * 10.0**-DECADES)
            return cls(low, high, log) if high > low * 1.05 else cls(low / 2, high * 2, log)
        size = max(abs(low), abs(high)) or 1.0
        # Closer than float32 tells apart: a flat picture, not one of rounding errors.
        return cls(low, high) if high - low > 1e-6 * size else cls(low - 0.1 * size, high + 0.1 * size)

    def fraction(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Return each value's position, between 0 and 1 inside the scale.

        A value that a logarithmic scale cannot hold (zero or less) stands at 0; NaN and Inf stay.
        """
        exact = np.asarray(values, dtype=float)
        if not self.log:
            linear: NDArray[np.float64] = (exact - self.low) / (self.high - self.low)
            return linear
        positive = np.where(exact <= 0, self.low, exact)
        logarithmic: NDArray[np.float64] = np.log(positive / self.low) / math.log(self.high / self.low)
        return logarithmic

    def ticks(self) -> list[tuple[float, str]]:
        """Return about five round values inside the scale, each with its label, rising."""
        values = self._decades() if self.log else round_values(self.low, self.high)
        return list(zip(values, labels(values), strict=True))

    def _decades(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        slack = 1e-9 * (math.log10(self.high) - math.log10(self.low))
        for parts in ((1,), (1, 3), (1, 2, 5)):
            stride = max(1, math.ceil((last - first) / 6)) if parts == (1,) else 1
            # Multiples of the stride, so that ticks stay where they are while the scale widens.
            decades = [n for n in range(first, last + 1) if n % stride == 0]
            values = [part * 10.0**n for n in decades for part in parts]
            inside = [v for v in values if self.low * (1 - slack) <= v <= self.high * (1 + slack)]
            if len(inside) >= 3:
                return inside
        return round_values(self.low, self.high)


def round_values(low: float, high: float, n: int = 5) -> list[float]:
    """Return about ``n`` multiples of 1, 2 or 5 times a power of ten between ``low`` and ``high``."""
    rough = (high - low) / n
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def step_ticks(first: int, end: int, n: int = 6) -> list[int]:
    """Return about ``n`` round step numbers from ``first`` up to, but without, ``end``."""
    values = {round(value) for value in round_values(first, max(end, first + 1), max(n, 2))}
    return sorted(step for step in values if first <= step < max(end, first + 1))


def labels(values: Sequence[float]) -> list[str]:
    """Return a short text for each number, with as many digits as keep them apart: ``0.002``, ``1e-07``."""
    for digits in range(3, 9):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            return texts
    return [repr(value) for value in values]
