"""The colours of figures: a perceptually uniform scale, and two colours that do not occur on it."""

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

Colour = tuple[int, int, int]

MISSING: Colour = (205, 205, 205)
"""A cell that was not read."""
NONFINITE: Colour = (222, 45, 38)
"""A cell that holds NaN or Inf."""

LINE: Colour = (0, 114, 178)
"""A curve."""
WARNING: Colour = (196, 122, 0)
"""A warning; its shape is hollow, so that colour alone never tells it."""
CRITICAL: Colour = (193, 18, 31)
"""What is critical; its shape is filled."""
INK: Colour = (38, 38, 38)
FAINT: Colour = (110, 110, 110)

# Nine even stops of viridis: equal steps look equal, in grey and to colour-blind eyes too.
_STOPS = ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725")


def _table() -> NDArray[np.uint8]:
    stops = np.array([list(bytes.fromhex(stop)) for stop in _STOPS], dtype=float)
    at = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(at, np.arange(len(stops)), channel) for channel in stops.T]
    return np.stack(channels, axis=1).round().astype(np.uint8)


_TABLE = _table()


def hexadecimal(colour: Colour) -> str:
    """Return a colour as ``#rrggbb``."""
    return "#" + bytes(colour).hex()


def colours(fraction: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
    """Return the colour of each position on the scale.

    Args:
        fraction: Positions from 0 (dark violet) to 1 (yellow); outside they are clipped, NaN is 0.

    Returns:
        Red, green and blue, 0 to 255.
    """
    position = np.clip(np.nan_to_num(fraction, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    picked: NDArray[np.uint8] = _TABLE[(position * 255).round().astype(np.intp)]
    return picked
