"""From merged partials on the host to the readings of a step record."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stabilitykit.observe.optimizer_tap import GroupVector
from stabilitykit.observe.partials import BOUND, COLUMNS, COUNT, MAXIMUM, MINIMUM, NORM, SUM
from stabilitykit.observe.site import Role, Site
from stabilitykit.records import StepRecord
from stabilitykit.stats import max_abs, nonfinite, rms
from stabilitykit.tags import tag

Numbers = NDArray[np.float64]
Column = tuple[tuple[str, ...], Numbers]
"""Tags, and a number for each."""


@dataclass(frozen=True, slots=True)
class PackedStep:
    """One step as a single vector, and what stands where in it."""

    vector: Tensor
    counts: tuple[int, ...]
    """Elements behind each row of the buffer; 0 for a row that was not written."""
    scalars: tuple[str, ...]
    parts: Mapping[str, GroupVector]
    """Vectors over groups, in the order of packing."""
    corrected: bool
    """Whether the last number is the bias correction of the second moments."""
    floats: Mapping[str, float]
    """Scalars that never were on the device."""


class Assembly:
    """Turns packed steps into records; their tags tuple is shared while it stays the same.

    Args:
        sites: The sites behind the buffer's rows.
    """

    def __init__(self, sites: tuple[Site, ...]) -> None:
        self._sites = sites
        self._tags: tuple[str, ...] = ()
        self.fired_rows: tuple[int, ...] = ()
        """Rows of the buffer that were written at the newest step."""

    def record(self, step: int, packed: PackedStep, numbers: Numbers) -> StepRecord:
        """Return the record of a packed step.

        Args:
            step: Optimizer steps finished before this one.
            packed: What was packed.
            numbers: ``packed.vector`` on the host.
        """
        n_rows = len(packed.counts)
        rows = numbers[: n_rows * COLUMNS].reshape(n_rows, COLUMNS)
        rest = numbers[n_rows * COLUMNS :]
        scalars, rest = rest[: len(packed.scalars)], rest[len(packed.scalars) :]
        parts: dict[str, Numbers] = {}
        for what, vector in packed.parts.items():
            parts[what], rest = rest[: len(vector.groups)], rest[len(vector.groups) :]
        count = rows[:, COUNT] + packed.counts
        self.fired_rows = tuple(np.flatnonzero(count).tolist())
        columns = [
            (packed.scalars, scalars),
            (tuple(packed.floats), np.array(list(packed.floats.values()))),
            *_forward(self._sites, rows, count),
            *_gradients(packed, parts),
            *_updates(packed, parts, rest[0] if packed.corrected else np.nan),
        ]
        tags = tuple(name for names, _ in columns for name in names)
        if tags != self._tags:
            self._tags = tags
        values = np.concatenate([column for _, column in columns])
        return StepRecord(step, self._tags, values.astype(np.float32))


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
        *_statistics(sites, rows, count, fired),
    ]


def _statistics(
    sites: tuple[Site, ...], rows: Numbers, count: Numbers, fired: tuple[bool, ...]
) -> Iterator[Column]:
    """Yield what the statistics of the user's own gave."""
    found, _ = _rows(sites, Role.STATISTIC, fired)
    for row in found.tolist():
        statistic = sites[row].statistic
        if statistic is not None:
            value = rows[row, statistic.column] / (count[row] if statistic.merge == "mean" else 1)
            yield (sites[row].key,), np.array([value])


def _gradients(packed: PackedStep, parts: Mapping[str, Numbers]) -> list[Column]:
    """Return the global norm, and each group's norm and share."""
    if "gradients" not in parts:
        return []
    norm = parts["gradients"]
    total = np.sqrt(np.square(norm).sum(keepdims=True))
    # Where every gradient is zero, no block has a share.
    share = np.divide(norm, total, out=np.zeros_like(norm), where=total != 0)
    groups = tuple(packed.parts["gradients"].groups)
    return [
        (("optim/grad_norm",), total),
        (_tags("grad/norm", groups), norm),
        (_tags("grad/share", groups), share),
    ]


def _updates(packed: PackedStep, parts: Mapping[str, Numbers], correction: float) -> list[Column]:
    """Return update ratios, RMS_t and norm gains."""
    if "updates" not in parts:
        return []
    groups = tuple(packed.parts["updates"].groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = [(_tags("optim/update_ratio", groups), parts["updates"] / parts["weights"])]
    if "scaled_gradients" in parts:
        vector = packed.parts["scaled_gradients"]
        rms_t = np.sqrt(parts["scaled_gradients"] * correction / np.array(vector.sizes))
        columns.append((_tags("optim/rms_t", tuple(vector.groups)), rms_t))
    gains = packed.parts["gains"]
    gain_rms = parts["gains"] / np.sqrt(np.array(gains.sizes, dtype=np.float64))
    return [*columns, (_tags("norm/gain_rms", tuple(gains.groups)), gain_rms)]


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
