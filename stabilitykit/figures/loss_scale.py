"""The axis of a loss: linear or logarithmic, chosen by the values, and never lost to a single one of them."""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from stabilitykit.figures.scale import Scale

_LOG_FROM = 10.0
"""Ratio of highest to lowest value from which on the axis is logarithmic."""
_DECADES = 8
"""Decades above and below the median that a logarithmic axis reaches at most."""
_BULKS = 20.0
"""How far a linear axis reaches beyond nine tenths of the values, in their own width."""
_HUGE = 1e300
"""Larger values overflow when an axis is computed."""


def loss_scale(values: Float[np.ndarray, " values"]) -> Scale:
    """Return the axis on which a series can be read: one absurd value does not flatten all others.

    Values beyond it belong on its edge. It is logarithmic where all values are positive, or zero at most, and
    span a factor of ten.

    Args:
        values: The series; NaN and Inf are passed over.
    """
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if positive.size and finite.min() >= 0 and positive.max() / _LOG_FROM >= positive.min():
        # The lower one of two, so that of a value and its explosion the value is shown.
        reach, middle = 10.0**_DECADES, float(np.quantile(positive, 0.5, method="lower"))
        inside = np.clip(positive, middle / reach, min(middle * reach, _HUGE))
        return Scale.of(_roomy(inside, log=True), log=True)
    return Scale.of(_roomy(_bulk(np.clip(finite, -_HUGE, _HUGE))))


def _bulk(values: Float[np.ndarray, " values"]) -> Float[np.ndarray, " values"]:
    if not values.size:
        return values
    low, high = np.quantile(values, [0.05, 0.95])
    reach = _BULKS * (high - low) or np.inf
    clipped: NDArray[np.float64] = np.clip(values, low - reach, high + reach)
    return clipped


def _roomy(values: Float[np.ndarray, " values"], log: bool = False) -> Float[np.ndarray, " values"]:
    """Return the values with a little room above and below them."""
    if not values.size:
        return values
    low, high = float(values.min()), float(values.max())
    if log:
        room = (high / low) ** 0.04
        return np.array([low / room, high * room])
    return np.array([low - 0.04 * (high - low), high + 0.04 * (high - low)])
