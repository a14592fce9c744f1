"""Depth × step maps of a run's folder."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stabilitykit.figures.depth_map import DepthMap
from stabilitykit.store import Run
from stabilitykit.tags import by_conventional_site

_SPANS = 400
"""Columns at most."""


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    title: str
    unit: str
    family: str
    suffix: str = ""
    log: bool = False
    """Whether colours follow the logarithm, where no value is negative."""


_KINDS = (
    _Kind("residual_rms", "Residual RMS behind each block", "", "act/rms", ".resid_post", log=True),
    _Kind("gradient_share", "Gradient share", "", "grad/share", log=True),
    _Kind("attention_logit_max", "Largest attention logit", "", "attn/logit_max", log=True),
    _Kind("attention_entropy", "Attention entropy", "of its maximum", "attn/entropy"),
)


def depth_maps(run: Run) -> list[DepthMap]:
    """Return what a run's readings show over depth and steps; what was not read is left out.

    Args:
        run: The run's folder, opened.
    """
    markers = tuple(sorted({incident.start for incident in run.incidents}))
    found = []
    for kind in _KINDS:
        by_name = by_conventional_site(run.tags, kind.family, run.renamed)
        names = [name for name in by_name if name.endswith(kind.suffix)]
        columns = {name.removesuffix(kind.suffix): run.column(by_name[name]) for name in names}
        if any(len(steps) > 1 for steps, _ in columns.values()):
            found.append(_map(kind, columns, markers))
    return found


def _map(
    kind: _Kind,
    columns: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]],
    markers: tuple[int, ...],
) -> DepthMap:
    steps = np.unique(np.concatenate([steps for steps, _ in columns.values()]))
    first, end = int(steps[0]), int(steps[-1]) + 1
    # As wide as the cadence at least, so that steps that are not read leave no stripes.
    width = max(int(np.median(np.diff(steps))), -(-(end - first) // _SPANS))
    count = -(-(end - first) // width)
    values = np.full((len(columns), count), -np.inf)
    missing = np.ones((len(columns), count), bool)
    for row, (at, read) in enumerate(columns.values()):
        spans = (at - first) // width
        # The largest of a span, or NaN: no spike is lost.
        with np.errstate(invalid="ignore"):
            np.maximum.at(values[row], spans, read.astype(float))
        missing[row, spans] = False
    values[missing] = np.nan
    finite = values[np.isfinite(values)]
    log = kind.log and bool((finite >= 0).all() and (finite > 0).any())
    span = (first, first + count * width)
    return DepthMap(kind.name, kind.title, kind.unit, tuple(columns), span, values, missing, log, markers)
