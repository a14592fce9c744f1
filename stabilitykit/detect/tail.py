"""How far the noise of batches reaches upwards, where a width does not tell."""

import math

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.rolling import Window

FEWEST = 16
"""Differences from which on a tail is known."""
ONE_SIDED = 2.0
"""Upper tail over the lower one from which on noise is one-sided; in language models it is 1.2."""
FEW = 4.0
"""Two tails of n differences are known badly: their ratio has to be larger by the factor 1 + FEW / √n."""
WHITE = 2.5
"""Standard errors of the correlation of neighbours within which differences are independent."""
STEEPEST = 1.5
"""Most by which a limit is further out for a tail that grows outwards."""

_QUARTER, _TWENTIETH = 0.6745, 1.6449
"""Quantiles 3/4 and 19/20 of a normal distribution."""


def tail(differences: Window) -> float:
    """Return how much further differences reach upwards than their width says, 1 where no further.

    A loss is one-sided where few samples make most of it: noise levels of a diffusion model, pairs of a
    contrastive one, lengths, a rarer task. A median and a MAD see nothing of such a tail. It is that of
    batches, and no trace of instability, where it is ``ONE_SIDED`` times as long as the lower one, and where
    one difference says nothing of the next: what has become unstable takes a while to come back. The limit
    then follows the upper twentieth, and the more the longer that is beside the upper quarter, as tails go on
    as they began.
    """
    values = np.array(differences.values)
    n = len(values)
    if n < FEWEST or _rank_correlation(values) > WHITE / math.sqrt(n):
        return 1.0
    low, quarter, top = np.quantile(values, (0.05, 0.75, 0.95), method="higher") - np.median(values)
    width = differences.sigma()
    one_sided = ONE_SIDED * (1 + FEW / math.sqrt(n))
    if quarter <= 0 or width <= 0 or top <= max(_TWENTIETH * width, -one_sided * low):
        return 1.0
    outwards = math.sqrt((top / quarter) / (_TWENTIETH / _QUARTER))
    return float(top / (_TWENTIETH * width) * min(max(1.0, outwards), STEEPEST))


def _rank_correlation(values: NDArray[np.float64]) -> float:
    """Return the correlation between the ranks of neighbours."""
    n = len(values)
    ranks = np.empty(n)
    ranks[np.argsort(values, kind="stable")] = np.arange(n) - (n - 1) / 2
    return float(ranks[1:] @ ranks[:-1] / (ranks @ ranks))
