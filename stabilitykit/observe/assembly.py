"""From merged partials on the host to the readings of a step record."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stabilitykit.observe.partials import BOUND, MAXIMUM, MINIMUM, NORM, SUM
from stabilitykit.observe.site import Layout, Role
from stabilitykit.records import StepRecord
from stabilitykit.stats import max_abs, nonfinite, rms
from stabilitykit.tags import tag

Numbers = NDArray[np.float64]

_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class PackedStep:
    """One step as a single vector, and what stands where in it."""

    vector: Tensor
    counts: tuple[int, ...]
    """Elements behind each row of the buffer; 0 for a row that was not written."""
    scalars: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]
    """Parameter names behind each per-parameter vector, in the order of packing."""
    corrected: bool
    """Whether the last number is the bias correction of the second moments."""
    floats: Mapping[str, float]
    """Scalars that never were on the device."""


class Assembly:
    """Turns packed steps into records of one layout; the tags tuple is shared while it stays the same."""

    def __init__(self, layout: Layout, numel: Mapping[str, int]) -> None:
        self._layout = layout
        self._numel = numel
        self._tags: tuple[str, ...] = ()

    def record(self, step: int, packed: PackedStep, numbers: Numbers) -> StepRecord:
        """Return the record of a packed step.

        Args:
            step: Optimizer steps finished before this one.
            packed: What was packed.
            numbers: ``packed.vector`` on the host.
        """
        n_rows = len(packed.counts)
        rows = numbers[: n_rows * _COLUMNS].reshape(n_rows, _COLUMNS)
        rest = numbers[n_rows * _COLUMNS :]
        scalars, rest = rest[: len(packed.scalars)], rest[len(packed.scalars) :]
        columns: list[tuple[tuple[str, ...], Numbers]] = [
            (packed.scalars, scalars),
            (tuple(packed.floats), np.array(list(packed.floats.values()))),
        ]
        parts: dict[str, Numbers] = {}
        for what, names in packed.parts.items():
            parts[what], rest = rest[: len(names)], rest[len(names) :]
        columns += self._forward(rows, np.array(packed.counts, dtype=np.float64))
        columns += self._gradients(packed, parts)
        columns += self._updates(packed, parts, rest[0] if packed.corrected else np.nan)
        tags = tuple(name for names, _ in columns for name in names)
        if tags != self._tags:
            self._tags = tags
        return StepRecord(
            step, self._tags, np.concatenate([values for _, values in columns]).astype(np.float32)
        )

    def _forward(self, rows: Numbers, counts: Numbers) -> list[tuple[tuple[str, ...], Numbers]]:
        """Return what the taps on activations, attention and output logits saw."""
        fired = tuple((counts > 0).tolist())
        act, act_sites = self._rows(Role.ACTIVATION, fired)
        attn, attn_sites = self._rows(Role.ATTENTION, fired)
        logits, _ = self._rows(Role.LOGITS, fired)
        low, high, n = rows[act, MINIMUM], rows[act, MAXIMUM], counts[attn]
        return [
            (_tags("act/rms", act_sites), rms(rows[act, NORM], counts[act])),
            (_tags("act/max_abs", act_sites), max_abs(low, high)),
            (_tags("act/nonfinite", act_sites), nonfinite(low, high)),
            (_tags("attn/logit_max", attn_sites), rows[attn, MAXIMUM]),
            (_tags("attn/logit_max_bound", attn_sites), rows[attn, BOUND]),
            (_tags("attn/entropy", attn_sites), rows[attn, SUM] / n),
            (_tags("attn/entropy_min", attn_sites), rows[attn, MINIMUM]),
            (_tags("output/log_z", ("",) * len(logits)), rows[logits, SUM] / counts[logits]),
        ]

    def _rows(self, role: Role, fired: tuple[bool, ...]) -> tuple[list[int], tuple[str, ...]]:
        """Return the rows of a role that were written, and their sites."""
        found = [
            (row, site.name)
            for row, site in enumerate(self._layout.sites)
            if site.role is role and fired[row]
        ]
        return [row for row, _ in found], tuple(name for _, name in found)

    def _gradients(
        self, packed: PackedStep, parts: Mapping[str, Numbers]
    ) -> list[tuple[tuple[str, ...], Numbers]]:
        """Return the global norm, and each group's norm and share."""
        if "gradients" not in parts:
            return []
        groups, norm = self._by_group(packed.parts["gradients"], parts["gradients"])
        total = np.sqrt(np.square(norm).sum(keepdims=True))
        # Where every gradient is zero, no block has a share.
        share = np.divide(norm, total, out=np.zeros_like(norm), where=total != 0)
        return [
            (("optim/grad_norm",), total),
            (_tags("grad/norm", groups), norm),
            (_tags("grad/share", groups), share),
        ]

    def _updates(
        self, packed: PackedStep, parts: Mapping[str, Numbers], correction: float
    ) -> list[tuple[tuple[str, ...], Numbers]]:
        """Return update ratios, RMS_t and norm gains by group."""
        if "updates" not in parts:
            return []
        groups, update = self._by_group(packed.parts["updates"], parts["updates"])
        _, weight = self._by_group(packed.parts["weights"], parts["weights"])
        with np.errstate(invalid="ignore", divide="ignore"):
            columns = [(_tags("optim/update_ratio", groups), update / weight)]
        if "scaled_gradients" in parts:
            names = packed.parts["scaled_gradients"]
            groups, scaled = self._by_group(names, parts["scaled_gradients"])
            _, size = self._by_group(names, np.sqrt([self._numel[name] for name in names]))
            columns.append((_tags("optim/rms_t", groups), scaled / size * np.sqrt(correction)))
        weights = dict(zip(packed.parts["weights"], parts["weights"].tolist(), strict=True))
        gains = {norm: name for norm, name in self._layout.gains.items() if name in weights}
        gain_rms = np.array([weights[name] / self._numel[name] ** 0.5 for name in gains.values()])
        return [*columns, (_tags("norm/gain_rms", tuple(gains)), gain_rms)]

    def _by_group(self, names: tuple[str, ...], norm: Numbers) -> tuple[tuple[str, ...], Numbers]:
        """Return the groups and the root of their summed squares, exact over shards of a group."""
        groups, index = _group_index(tuple(self._layout.groups.items()), names)
        return groups, np.sqrt(np.bincount(index, weights=np.square(norm), minlength=len(groups)))


@lru_cache(maxsize=32)
def _tags(name: str, sites: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(tag(name, site) for site in sites)


@lru_cache(maxsize=32)
def _group_index(
    groups: tuple[tuple[str, tuple[str, ...]], ...], names: tuple[str, ...]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the groups that ``names`` fall into, and the group of each name."""
    home = {name: group for group, members in groups for name in members}
    present = tuple(group for group, members in groups if any(name in set(names) for name in members))
    return present, np.array([present.index(home[name]) for name in names], dtype=np.int64)
