"""A quantity over depth and steps, ready to be drawn by whatever draws it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from stabilitykit.figures.scale import Scale


@dataclass(frozen=True, eq=False)
class DepthMap:
    """One quantity of a run: a row a site, a column a span of steps."""

    name: str
    """Short name, as in names of files: ``residual_rms``."""
    title: str
    unit: str
    sites: tuple[str, ...]
    """From input to output."""
    span: tuple[int, int]
    """The first column's first step, and the step after the last column's."""
    values: Float[np.ndarray, "sites spans"]
    missing: Bool[np.ndarray, "sites spans"]
    """Where nothing was read."""
    log: bool = False
    """Whether colours follow the logarithm."""
    markers: tuple[int, ...] = ()
    """Steps at which incidents began."""

    @property
    def scale(self) -> Scale:
        """From values to colours."""
        return Scale.of(np.where(self.missing, np.nan, self.values), self.log)

    def told(self) -> list[tuple[str, float, float, float, float]]:
        """Return a row a site, in words for those who do not see it: first, lowest, highest, last value."""
        rows = []
        for site, values, missing in zip(self.sites, self.values, self.missing, strict=True):
            read = values[~missing]
            finite = read[np.isfinite(read)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
            ends = (float(read[0]), float(read[-1])) if read.size else (np.nan, np.nan)
            rows.append((site, ends[0], low, high, ends[1]))
        return rows
