"""The step of each row: as it stands there, counted, or counted on where each epoch begins anew."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stabilitykit.store.logs.names import EPOCH, STEP
from stabilitykit.store.logs.omissions import Omissions

_FARTHEST = 2**60
"""Steps beyond which none are counted on: no run is so long."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of some rows."""

    numbers: NDArray[np.int64]
    valid: NDArray[np.bool_]
    """Which rows have one."""


class StepCount:
    """Finds the step of each row: as it stands there, counted, or counted on where each epoch begins anew.

    Args:
        columns: What each place of a row holds.
        omissions: Where it counts rows without a step.
    """

    def __init__(self, columns: Mapping[str, str], omissions: Omissions) -> None:
        whats = list(columns)
        self._name = columns.get(STEP, "")
        self._step_at = whats.index(STEP) if STEP in columns else None
        self._epoch_at = whats.index(EPOCH) if EPOCH in columns else None
        self._omissions = omissions
        self._counted = 0
        self._offset = 0
        self._last = 0
        self._stride = 1
        self._has_loss = False
        """Whether there was a loss at the last step."""
        self._next_epoch: float = math.inf

    def steps(self, cells: NDArray[np.float64], read: NDArray[np.bool_]) -> Steps:
        """Return the rows' steps, and which rows have one."""
        if self._step_at is None:
            # Rows without a loss, as of a learning rate alone, belong to the loss that follows.
            losses = np.cumsum(read[:, 0])
            counted, self._counted = self._counted, self._counted + int(losses[-1])
            return Steps(np.asarray(losses - read[:, 0] + counted), np.ones(len(cells), bool))
        numbers, there = cells[:, self._step_at], read[:, self._step_at]
        with np.errstate(invalid="ignore"):
            whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)
        for value in numbers[there & ~whole]:
            self._omissions.cannot_read(
                f"column {self._name!r} holds {value:g}; accepted: whole numbers of steps"
            )
        lost = int((~there & read[:, 0]).sum())
        self._omissions.count("rows with a loss and no step passed over", n=lost)
        valid = there & whole
        steps = np.where(valid, numbers, 0).astype(np.int64)
        if self._epoch_at is not None:
            self._count_on(steps, valid, cells[:, self._epoch_at], read[:, 0])
        return Steps(steps, valid)

    def _count_on(
        self,
        steps: NDArray[np.int64],
        valid: NDArray[np.bool_],
        epochs: NDArray[np.float64],
        with_loss: NDArray[np.bool_],
    ) -> None:
        """Add to the steps those of the epochs before, where a step goes back as an epoch begins.

        It has gone back, too, where an epoch of one line ends on the step on which the one before ended.
        """
        for at in np.flatnonzero(valid).tolist():
            step, epoch = int(steps[at]), float(epochs[at])
            back = step < self._last or (step == self._last and with_loss[at] and self._has_loss)
            if back and epoch >= self._next_epoch and self._offset < _FARTHEST:
                self._offset += self._last + self._stride - step
                self._omissions.say("steps begin anew with each epoch, so they are counted on")
            elif step > self._last:
                self._stride = step - self._last
            self._has_loss = bool(with_loss[at]) or (self._has_loss and step == self._last)
            self._last = step
            if math.isfinite(epoch):
                self._next_epoch = math.floor(epoch) + 1
            steps[at] = step + self._offset
