"""From merged partials on the host to the readings of a step record."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stabilitykit.observe.partials import BOUND, COLUMNS, COUNT, MAXIMUM, MINIMUM, NORM, SUM
from stabilitykit.observe.schema import Part, Schema
from stabilitykit.observe.site import Role, Site
from stabilitykit.records import StepRecord
from stabilitykit.stats import max_abs, nonfinite, rms
from stabilitykit.tags import tag

Numbers = NDArray[np.float64]
Column = tuple[tuple[str, ...], Numbers]
"""Tags, and a number for each."""

Parts = Mapping[str, tuple[Part, Numbers]]
"""What was read of groups of parameters, by kind."""


class Assembly:
    """Turns the numbers of steps into records; their tags tuple is shared while it stays the same."""

    def __init__(self) -> None:
        self._tags: tuple[str, ...] = ()
        self.fired_rows: tuple[int, ...] = ()
        """Rows of partials that were written at the newest step."""

    def record(self, step: int, schema: Schema, numbers: Numbers) -> StepRecord:
        """Return the record of a step.

        Args:
            step: Optimizer steps finished before this one.
            schema: What the numbers are.
            numbers: The numbers.
        """
        counts, floats, partials, scalars, *values, correction = schema.cut(numbers)
        parts = {part.what: (part, each) for part, each in zip(schema.parts, values, strict=True)}
        rows = partials.reshape(len(counts), COLUMNS)
        count = rows[:, COUNT] + counts
        self.fired_rows = tuple(np.flatnonzero(count).tolist())
        columns = [
            (schema.scalars, scalars),
            (schema.floats, floats),
            *_forward(schema.plan.sites, rows, count),
            *_gradients(parts),
            *_updates(parts, correction[0] if schema.corrected else np.nan),
        ]
        tags = tuple(name for names, _ in columns for name in names)
        if tags != self._tags:
            self._tags = tags
        return StepRecord(step, self._tags, np.concatenate([each for _, each in columns]).astype(np.float32))


def _forward(sites: tuple[Site, ...], rows: Numbers, count: Numbers) -> list[Column]:
    """Return what the taps on activations, attention and output logits saw."""
    fired = tuple((count > 0).tolist())
    act, act_sites = _rows(sites, Role.ACTIVATION, fired)
    attn, attn_sites = _rows(sites, Role.ATTENTION, fired)
    logits, logits_sites = _rows(sites, Role.LOGITS, fired)
    low, high = rows[act, MINIMUM], rows[act, MAXIMUM]
    return [
        (_tags("act/rms", act_sites), rms(rows[act, NORM], count[act])),
        (_tags("act/max_abs", act_sites), max_abs(low, high)),
        (_tags("act/nonfinite", act_sites), nonfinite(low, high)),
        (_tags("attn/logit_max", attn_sites), rows[attn, MAXIMUM]),
        (_tags("attn/logit_max_bound", attn_sites), rows[attn, BOUND]),
        (_tags("attn/entropy", attn_sites), rows[attn, SUM] / count[attn]),
        (_tags("attn/entropy_min", attn_sites), rows[attn, MINIMUM]),
        (_tags("output/log_z", ("",) * len(logits_sites)), rows[logits, SUM] / count[logits]),
    ]


def _gradients(parts: Parts) -> list[Column]:
    """Return the global norm, and each group's norm and share."""
    if "gradients" not in parts:
        return []
    part, norm = parts["gradients"]
    total = np.sqrt(np.square(norm).sum(keepdims=True))
    # Where every gradient is zero, no block has a share.
    share = np.divide(norm, total, out=np.zeros_like(norm), where=total != 0)
    return [
        (("optim/grad_norm",), total),
        (_tags("grad/norm", part.groups), norm),
        (_tags("grad/share", part.groups), share),
    ]


def _updates(parts: Parts, correction: float) -> list[Column]:
    """Return update ratios, RMS_t and norm gains."""
    if "updates" not in parts:
        return []
    part, updates = parts["updates"]
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = [(_tags("optim/update_ratio", part.groups), updates / parts["weights"][1])]
    if "scaled_gradients" in parts:
        part, squares = parts["scaled_gradients"]
        rms_t = np.sqrt(squares * correction / np.array(part.sizes))
        columns.append((_tags("optim/rms_t", part.groups), rms_t))
    part, norms = parts["gains"]
    gain_rms = norms / np.sqrt(np.array(part.sizes, dtype=np.float64))
    return [*columns, (_tags("norm/gain_rms", part.groups), gain_rms)]


@lru_cache(maxsize=32)
def _rows(
    sites: tuple[Site, ...], role: Role, fired: tuple[bool, ...]
) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Return the rows of a role that were written, and their sites."""
    found = [row for row, site in enumerate(sites) if site.role is role and fired[row]]
    return np.array(found, dtype=np.intp), tuple(sites[row].name for row in found)


@lru_cache(maxsize=64)
def _tags(name: str, sites: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(tag(name, site) for site in sites)
