"""From a step's numbers on the host to the readings of a step record."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stabilitykit.observe.packing import StepNumbers
from stabilitykit.observe.partials import BOUND, COUNT, MAXIMUM, MINIMUM, NORM, SUM
from stabilitykit.observe.schema import HAS, SQUARE, WEIGHT, Plan, Schema, StepPart
from stabilitykit.observe.site import Role, Site
from stabilitykit.observe.update_readings import (
    Parameters,
    clip_factor,
    has_moved,
    update_readings,
    was_skipped,
)
from stabilitykit.observe.watched import Numbers
from stabilitykit.records import StepRecord
from stabilitykit.stats import fp16_headroom, max_abs, nonfinite, rms
from stabilitykit.tags import tag

Column = tuple[tuple[str, ...], Numbers]
"""Tags, and a number for each."""
Selection = tuple[NDArray[np.intp], tuple[str, ...]]
"""Rows of partials, and the sites behind them."""


_KEPT = 64
"""Selections of rows, and tuples of tags, that are kept."""


class Assembly:
    """Turns the numbers of steps into records; equal tags are one tuple, so that readers know them again."""

    def __init__(self) -> None:
        self._tags: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._selections: dict[tuple[str, bytes], dict[Role, Selection]] = {}
        self.fired_rows: tuple[int, ...] = ()
        """Rows of the buffer that were written at the newest step."""

    # A number that is none is a reading as any other, and told by its value alone.
    @np.errstate(all="ignore")
    def record(self, step: int, schema: Schema, numbers: StepNumbers) -> StepRecord:
        """Return the record of a step.

        Args:
            step: Optimizer steps finished before this one.
            schema: What the numbers are.
            numbers: The numbers.
        """
        rows = numbers.partials
        count = rows[:, COUNT] + numbers.counts
        fired = count > 0
        self.fired_rows = tuple(np.flatnonzero(fired).tolist())
        columns = [
            (schema.scalars, numbers.scalars),
            (schema.floats, numbers.floats),
            *_forward(schema.plan.sites, self._selected(schema.plan, fired), rows, count),
            *(_gradients(schema.plan, numbers.gradients) if schema.has_gradients else []),
            *(_updates(schema, numbers) if schema.has_optimizer else []),
            *_details(schema, numbers),
        ]
        tags = tuple(name for names, _ in columns for name in names)
        values = np.concatenate([column for _, column in columns])
        return StepRecord(step, self._one(tags), values.astype(np.float32), schema.plan.renamed)

    def _one(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        """Return the tuple that stands for all that equal it."""
        if len(self._tags) >= _KEPT:
            self._tags.clear()
        return self._tags.setdefault(tags, tags)

    def _selected(self, plan: Plan, fired: NDArray[np.bool_]) -> dict[Role, Selection]:
        """Return the rows of each role that were written, worked out once for equal ones."""
        key = (plan.digest, fired.tobytes())
        if key not in self._selections:
            if len(self._selections) >= _KEPT:
                self._selections.clear()
            written = [(row, site) for row, site in enumerate(plan.sites) if fired[row]]
            self._selections[key] = {role: _selection(written, role) for role in Role}
        return self._selections[key]


def _selection(written: list[tuple[int, Site]], role: Role) -> Selection:
    found = [(row, site.name) for row, site in written if site.role is role]
    return np.array([row for row, _ in found], dtype=np.intp), tuple(name for _, name in found)


def _forward(
    sites: tuple[Site, ...], selected: dict[Role, Selection], rows: Numbers, count: Numbers
) -> list[Column]:
    """Return what the taps on activations, attention and output logits saw."""
    act, act_sites = selected[Role.ACTIVATION]
    attn, attn_sites = selected[Role.ATTENTION]
    logits, logits_sites = selected[Role.LOGITS]
    low, high = rows[act, MINIMUM], rows[act, MAXIMUM]
    largest = max_abs(low, high)
    return [
        (_tags("act/rms", act_sites), rms(rows[act, NORM], count[act])),
        (_tags("act/max_abs", act_sites), largest),
        (("act/headroom",) * bool(len(act)), fp16_headroom(largest)),
        (_tags("act/nonfinite", act_sites), nonfinite(low, high)),
        (_tags("attn/logit_max", attn_sites), rows[attn, MAXIMUM]),
        (_tags("attn/logit_max_bound", attn_sites), rows[attn, BOUND]),
        (_tags("attn/entropy", attn_sites), rows[attn, SUM] / count[attn]),
        (_tags("attn/entropy_min", attn_sites), rows[attn, MINIMUM]),
        (_tags("output/log_z", ("",) * len(logits_sites)), rows[logits, SUM] / count[logits]),
        *_statistics(sites, selected[Role.STATISTIC][0], rows, count),
    ]


def _statistics(
    sites: tuple[Site, ...], found: NDArray[np.intp], rows: Numbers, count: Numbers
) -> Iterator[Column]:
    """Yield what the statistics of the user's own gave."""
    for row in found.tolist():
        statistic = sites[row].statistic
        if statistic is not None:
            value = rows[row, statistic.column] / (count[row] if statistic.merge == "mean" else 1)
            yield (sites[row].key,), np.array([value])


def _details(schema: Schema, numbers: StepNumbers) -> list[Column]:
    """Return what was taken from one sequence."""
    found = zip(schema.details, numbers.details, strict=True)
    readings = [part.readings(int(each[0]), each[1:].tolist()) for part, each in found]
    return [(tuple(each), np.array(list(each.values()))) for each in readings]


def _gradients(plan: Plan, gradients: Numbers) -> list[Column]:
    """Return the global norm, and each group's norm and share."""
    has = gradients[HAS] > 0
    group_of, n = plan.group_of[has], len(plan.groups)
    places = np.flatnonzero(np.bincount(group_of, minlength=n))
    norm = np.sqrt(np.bincount(group_of, weights=gradients[SQUARE, has], minlength=n)[places])
    groups = tuple(plan.groups[place] for place in places.tolist())
    total = np.sqrt(np.square(norm).sum(keepdims=True))
    # Where every gradient is zero, no block has a share.
    share = np.divide(norm, total, out=np.zeros_like(norm), where=total != 0)
    return [
        (("optim/grad_norm",), total),
        (_tags("grad/norm", groups), norm),
        (_tags("grad/share", groups), share),
    ]


def _updates(schema: Schema, numbers: StepNumbers) -> list[Column]:
    """Return what optimizers' steps gave, and whether there was none."""
    pairs = zip(schema.steps, numbers.steps, strict=True)
    # Where nobody saw an optimizer step, weights that have moved tell.
    parts = [(part, table) for part, table in pairs if part.is_seen or has_moved(table)]
    skipped = not schema.has_stepped and not parts
    if not parts:
        return [(("optim/skipped",), np.array([float(skipped)]))]
    plan = schema.plan
    found = Parameters.joined([Parameters.of(part, table, plan.group_of) for part, table in parts])
    columns = [
        (_tags(name, tuple(values)), np.array(list(values.values())))
        for name, values in update_readings(found, plan.groups).items()
    ]
    columns.append(_gains(plan, parts))
    factor = clip_factor(found, numbers.gradients) if schema.has_gradients else None
    columns += [(("optim/clip_factor",), np.array([factor]))] if factor is not None else []
    skipped = skipped or was_skipped(found, numbers.gradients)
    return [*columns, (("optim/skipped",), np.array([float(skipped)]))]


def _gains(plan: Plan, parts: Sequence[tuple[StepPart, Numbers]]) -> Column:
    """Return the RMS of the gain of each norm."""
    found: dict[int, tuple[float, int]] = {}
    for part, table in parts:
        found |= dict(
            zip(part.places, zip(table[WEIGHT].tolist(), part.sample.sizes, strict=True), strict=True)
        )
    gains = {norm: found[place] for norm, place in plan.gains.items() if place in found}
    squares, sizes = np.array(list(gains.values())).reshape(-1, 2).T
    return _tags("norm/gain_rms", tuple(gains)), np.sqrt(squares / sizes)


@lru_cache(maxsize=64)
def _tags(name: str, sites: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(tag(name, site) for site in sites)
