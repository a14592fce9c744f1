"""From what optimizers' steps left to readings of updates, second moments, gradient direction, clipping."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from stabilitykit.observe.schema import (
    BETA2,
    GRADIENT,
    HAS,
    HAS_GRADIENT,
    HAS_MOMENT,
    HAS_PREVIOUS,
    PREVIOUS,
    PRODUCT,
    SCALED,
    SQUARE,
    STEPS,
    UPDATE,
    WEIGHT,
    StepPart,
)
from stabilitykit.observe.watched import Numbers

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What optimizers' steps did, on the host: one number a parameter, of whatever optimizer.

    Sums are scaled from the sample to all elements.
    """

    place: NDArray[np.intp]
    """Place among all watched parameters."""
    group: NDArray[np.intp]
    size: Numbers
    whole: Mask
    """Whether all its elements were looked at."""
    update: Numbers
    """Sum of squares of the change, and so on below."""
    weight: Numbers
    gradient: Numbers
    previous: Numbers
    scaled: Numbers
    product: Numbers
    """Dot product of this and the previous gradient."""
    correction: Numbers
    """1 − β2ᵗ; NaN where there is no second moment."""
    beta2: Numbers
    has_gradient: Mask
    has_previous: Mask
    has_moment: Mask
    hides_moment: Mask
    """Whether there is a second moment that is none, or cannot be read."""

    @classmethod
    def of(cls, part: StepPart, table: Numbers, group_of: NDArray[np.intp]) -> "Parameters":
        """Return what a step did, from its table on the host.

        Args:
            part: Of which parameters.
            table: The numbers.
            group_of: The group of every watched parameter.
        """
        # A step that clears its gradients leaves zeros, which are not those it used.
        has_gradient = (table[HAS_GRADIENT] > 0) & bool(table[GRADIENT].any())
        claimed = (table[HAS_MOMENT] > 0) & has_gradient
        has_moment = claimed & ~np.isnan(table[STEPS])
        return cls(
            place=part.place_of,
            group=group_of[part.place_of],
            size=np.array(part.sample.sizes, dtype=np.float64),
            whole=part.sample.whole,
            update=table[UPDATE],
            weight=table[WEIGHT],
            gradient=table[GRADIENT],
            previous=table[PREVIOUS],
            scaled=table[SCALED],
            product=table[PRODUCT],
            correction=np.where(has_moment, 1.0 - table[BETA2] ** table[STEPS], np.nan),
            beta2=np.where(has_moment, table[BETA2], np.nan),
            has_gradient=has_gradient,
            has_previous=(table[HAS_PREVIOUS] > 0) & has_gradient,
            has_moment=has_moment,
            hides_moment=(table[HAS_MOMENT] < 0) | (claimed & ~has_moment),
        )

    @classmethod
    def joined(cls, parts: Sequence["Parameters"]) -> "Parameters":
        """Return the parameters of several optimizers as one: a group may be shared among them."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


Readings = dict[str, dict[str, float]]
"""A value by statistic and site."""


def update_readings(found: Parameters, groups: tuple[str, ...]) -> Readings:
    """Return what there is to say of each group, and of the whole model.

    Args:
        found: What all optimizers' steps did.
        groups: Names of the groups.
    """
    everywhere = np.ones(found.size.size, dtype=bool)
    update = _sums(found, groups, everywhere, found.update)
    weight = _sums(found, groups, everywhere, found.weight)
    readings = {
        "optim/update_norm": {group: float(np.sqrt(square)) for group, square in update.items()},
        "optim/update_ratio": {group: _ratio(update[group], weight[group]) for group in update},
    }
    # The others of a group would stand for those whose moments cannot be read.
    hiding = np.unique(found.group[found.hides_moment])
    moment = found.has_moment & ~np.isin(found.group, hiding) if hiding.size else found.has_moment
    if moment.any():
        square = found.scaled * found.correction
        size = _sums(found, groups, moment, found.size)
        rms_t = _sums(found, groups, moment, square)
        share = _sums(found, groups, moment, square * (1 - found.beta2))
        readings["optim/rms_t"] = {group: _ratio(rms_t[group], size[group]) for group in size}
        readings["optim/staleness"] = {group: _ratio(share[group], size[group]) for group in size}
    there = found.has_previous
    if there.any():
        three = (found.product, found.gradient, found.previous)
        product, now, before = (_sums(found, groups, there, numbers) for numbers in three)
        readings["grad/cosine"] = {g: _cosine(product[g], now[g], before[g]) for g in product}
        totals = [float(numbers[there].sum()) for numbers in three]
        readings["optim/grad_cosine"] = {"": _cosine(*totals)}
    return readings


def clip_factor(found: Parameters, gradients: Numbers) -> float | None:
    """Return the norm of the gradients at the optimizer's step over their norm when they were read.

    It is taken over those parameters whose sample is the whole, such as gains and biases, since only there
    both norms are exact. Clipping by the global norm scales all gradients alike, so these stand for all.

    Args:
        found: What all optimizers' steps did.
        gradients: What was read of the gradients before, of all watched parameters.
    """
    exact = found.whole & found.has_gradient & (gradients[HAS, found.place] > 0)
    if not exact.any():
        return None
    now = float(found.gradient[exact].sum())
    then = float(gradients[SQUARE, found.place[exact]].sum())
    return float(np.sqrt(now / then)) if 0 < then < np.inf and np.isfinite(now) else None


def was_skipped(found: Parameters, gradients: Numbers) -> bool:
    """Return whether the steps changed nothing while a gradient was not finite.

    A fused optimizer is called by a loss scaler at every step, and skips an overflow in its own kernel.

    Args:
        found: What all optimizers' steps did.
        gradients: What was read of the gradients before.
    """
    return not found.update.any() and not np.isfinite(gradients[SQUARE]).all()


def has_moved(table: Numbers) -> bool:
    """Return whether a step has changed any weight, or made it no number."""
    return bool(table[UPDATE].any())


def _sums(found: Parameters, groups: tuple[str, ...], mask: Mask, numbers: Numbers) -> dict[str, float]:
    """Return the sum over each group that has a parameter in the mask."""
    place = found.group[mask]
    sums = np.bincount(place, weights=numbers[mask], minlength=len(groups)).tolist()
    there = np.bincount(place, minlength=len(groups)).tolist()
    return {group: sums[at] for at, group in enumerate(groups) if there[at]}


def _ratio(square: float, of: float) -> float:
    """Return √(square / of); of nothing, nothing."""
    if square == 0:
        return 0.0
    return float(np.sqrt(square / of)) if of else float("inf")


def _cosine(product: float, one: float, other: float) -> float:
    """Return a cosine from a dot product and two squared norms; 0 where one of them is 0."""
    norm = float(np.sqrt(one) * np.sqrt(other))
    return product / norm if norm else 0.0
