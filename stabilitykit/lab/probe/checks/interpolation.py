"""Between the measured edges, and a little beyond them: what may be said of a depth and a warmup. No torch.

Two things are taken for granted, and nothing else: what fails at a depth fails in a deeper model, and what
fails with a warmup fails with a shorter one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from stabilitykit.lab.probe.checks.edges import EdgeRow

REACH = 1.5
"""How far beyond the measured depths, as a factor, something is still said."""
DEPTH_POWER = 3.5
"""Beyond the measured depths the edge is moved by this power of the depth, so that less is said: post-norm's
falls with the power 1.1 from 4 to 6 blocks and 3.2 from 6 to 8."""
_SAME_WARMUP = 0.011
"""Shares of warmup that differ by less are one: a tenth of 240 and of 250 steps."""

Points = Sequence[tuple[float, float]]
"""Where, and the rate there; in order."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Between which rates a setting stops holding."""

    holds: float | None
    """At and below this rate runs hold; None where no rate is known to."""
    fails: float | None
    """At and above this rate runs fail; None where no rate is known to."""
    depths: tuple[int, ...]
    """Blocks of the runs of this wiring and QK-norm that were measured; none where there are no such runs."""


def edge_at(rows: Iterable[EdgeRow], wiring: str, qk_norm: str, n_layers: int, warmup: float) -> Edge:
    """Return the edge of a setting, from the rows of its wiring and QK-norm.

    Rates are interpolated as logarithms, over the logarithm of the depth and over the share of warmup. Each
    side is taken from the rows that know it.

    Args:
        rows: The measured edges.
        wiring: Placement of the norms.
        qk_norm: ``none``, ``head`` or ``full``.
        n_layers: Blocks, at least 1.
        warmup: Warmup over all steps, 0 to 1.
    """
    own = [row for row in rows if (row.wiring, row.qk_norm) == (wiring, qk_norm)]
    levels = sorted({row.warmup for row in own})
    rows_of = {
        level: sorted((r for r in own if r.warmup == level), key=lambda r: r.n_layers) for level in levels
    }
    holds = _known((level, _holding(rows_of[level], n_layers)) for level in levels)
    fails = _known((level, _failing(rows_of[level], n_layers)) for level in levels)
    return Edge(
        _over_warmup(_at_least(holds), warmup, longer=True),
        _over_warmup(_at_most(fails[::-1])[::-1], warmup, longer=False),
        tuple(sorted({row.n_layers for row in own})),
    )


def _known(points: Iterable[tuple[float, float | None]]) -> list[tuple[float, float]]:
    return [(where, rate) for where, rate in points if rate is not None]


def _at_least(points: Points) -> list[tuple[float, float]]:
    """Return the points with every rate raised to the highest before it."""
    rates = accumulate((rate for _, rate in points), max)
    return [(where, rate) for (where, _), rate in zip(points, rates, strict=True)]


def _at_most(points: Points) -> list[tuple[float, float]]:
    """Return the points with every rate lowered to the lowest before it."""
    rates = accumulate((rate for _, rate in points), min)
    return [(where, rate) for (where, _), rate in zip(points, rates, strict=True)]


def _holding(rows: Sequence[EdgeRow], n_layers: int) -> float | None:
    """Return the rate that holds at a depth, from the rows of one warmup in order of depth."""
    points = _at_least(_known((row.n_layers, row.holds) for row in reversed(rows)))[::-1]
    rate = _over_depth(points, n_layers)
    if rate is not None and n_layers > points[-1][0]:
        rate *= (points[-1][0] / n_layers) ** DEPTH_POWER
    return rate


def _failing(rows: Sequence[EdgeRow], n_layers: int) -> float | None:
    """Return the rate that fails at a depth, from the rows of one warmup in order of depth."""
    points = _at_most(_known((row.n_layers, row.fails) for row in rows))
    rate = _over_depth(points, n_layers)
    if rate is not None and n_layers < points[0][0]:
        rate *= (points[0][0] / n_layers) ** DEPTH_POWER
    return rate


def _over_depth(points: Points, n_layers: int) -> float | None:
    if not points or not points[0][0] / REACH <= n_layers <= points[-1][0] * REACH:
        return None
    depths, rates = np.log(points).T
    return float(np.exp(np.interp(np.log(n_layers), depths, rates)))


def _over_warmup(points: Points, warmup: float, longer: bool) -> float | None:
    """Return the rate at a share of warmup.

    Args:
        points: Share and rate, in order.
        warmup: The share asked for.
        longer: Whether what is known of the longest warmup is true of longer ones, as holding is; else what
            is known of the shortest is true of shorter ones, as failing is.
    """
    if not points:
        return None
    beyond = warmup < points[0][0] - _SAME_WARMUP if longer else warmup > points[-1][0] + _SAME_WARMUP
    if beyond:
        return None
    shares, rates = np.array(points).T
    # What was measured must come back as it was typed.
    return float(f"{np.exp(np.interp(warmup, shares, np.log(rates))):.6g}")
