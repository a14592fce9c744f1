"""The loss of a run, less what its batches' token frequencies explain, smoothed without looking ahead."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stabilitykit.errors import DataError

Values = NDArray[np.float64]


class Trained(Protocol):
    """What labels need of a run."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def arm(self) -> str: ...  # noqa: D102
    @property
    def config(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def arch(self) -> str: ...  # noqa: D102
    @property
    def n_layers(self) -> int: ...  # noqa: D102
    @property
    def lr(self) -> float: ...  # noqa: D102
    @property
    def warmup(self) -> int: ...  # noqa: D102
    @property
    def optimizer(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def family(self) -> tuple[Any, ...]: ...  # noqa: D102
    @property
    def setting(self) -> tuple[Any, ...]: ...  # noqa: D102
    @property
    def steps(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def loss(self) -> Values: ...  # noqa: D102
    @property
    def unigram(self) -> Values: ...  # noqa: D102


def causal_median(values: Values, window: int) -> Values:
    """Return the median of each value and the ``window - 1`` before it, as many as there are.

    NaN is left out; where nothing else is there, the median is NaN.
    """
    if len(values) == 0:
        return values.copy()
    padded = np.concatenate([np.full(window - 1, np.nan), values])
    views = np.sort(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)
    # NaN sorts to the end, so that the median of the rest is where their number says.
    count = np.sum(~np.isnan(views), axis=1)
    rows = np.arange(len(values))
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, window - 1)
    return np.asarray((views[rows, low] + views[rows, high]) / 2)


@dataclass(frozen=True)
class Curve:
    """One run's loss."""

    run: Trained
    smooth: int
    """Steps of the median."""
    last: float
    """Share of the steps that are the end."""

    @cached_property
    def loss(self) -> Values:
        """The loss, with NaN where it is not finite."""
        loss = np.asarray(self.run.loss, np.float64)
        return np.where(np.isfinite(loss), loss, np.nan)

    @cached_property
    def first_nonfinite(self) -> int | None:
        """Position of the first loss that is NaN or infinite; None where all are finite."""
        bad = np.flatnonzero(~np.isfinite(self.run.loss))
        return int(bad[0]) if len(bad) else None

    @cached_property
    def excess(self) -> Values:
        """The loss less the unigram cross-entropy of the same batch; NaN where either is missing."""
        excess = self.loss - np.asarray(self.run.unigram, np.float64)
        if np.isnan(excess).all():
            raise DataError(
                f"{self.run.name}: train/unigram_cross_entropy beside train/loss is needed; no step has both"
            )
        return excess

    @cached_property
    def smooth_excess(self) -> Values:
        """Causal median of the excess."""
        return causal_median(self.excess, self.smooth)

    @cached_property
    def smooth_loss(self) -> Values:
        """Causal median of the loss."""
        return causal_median(self.loss, self.smooth)

    @cached_property
    def final(self) -> float:
        """Mean excess over the end of the run; infinite where nothing there is finite."""
        return self._final(self.excess)

    @cached_property
    def final_loss(self) -> float:
        """Mean loss there."""
        return self._final(self.loss)

    def _final(self, values: Values) -> float:
        end = values[-max(1, round(self.last * len(values))) :]
        return float(np.nanmean(end)) if np.isfinite(end).any() else float("inf")
