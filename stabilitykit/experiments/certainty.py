"""When a run's verdict is as good as certain, so that the rest of its steps can be saved."""

import math

import lightning as L

from stabilitykit.callbacks import StabilityMonitor
from stabilitykit.records import Incident

NONFINITE_STEPS = 10
"""Steps in a row without a finite loss: weights that are NaN stay so."""
OPEN_SHARE = 0.25
"""Share of the planned steps for which the loss has been stuck or diverged without a break."""


def is_certain(nonfinite: int, incidents: tuple[Incident, ...], step: int, steps: int) -> bool:
    """Return whether a run would hardly get another verdict, whatever followed.

    A loss that is stuck or diverged may still come back, so this is a wager; ``docs/sweeps.md`` says how
    often it was lost.

    Args:
        nonfinite: Steps in a row whose loss was not finite.
        incidents: The run's incidents so far.
        step: The present step.
        steps: Steps planned.
    """
    if nonfinite >= NONFINITE_STEPS:
        return True
    lasting = [each for each in incidents if each.is_open and each.kind in ("stuck", "divergence")]
    return any(step - each.detected >= OPEN_SHARE * steps for each in lasting)


class StopWhenCertain(L.Callback):
    """Ends a fit once its verdict is as good as certain.

    Args:
        monitor: Watches the fit; stands before this one among the callbacks.
        steps: Steps planned.
    """

    def __init__(self, monitor: StabilityMonitor, steps: int) -> None:
        self.stopped = False
        self._monitor = monitor
        self._steps = steps
        self._nonfinite = 0

    def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
        """Look at the step that has ended."""
        record = self._monitor.latest()
        if record is None or record.step + 1 >= self._steps:
            return
        loss = record.readings.get("train/loss", 0.0)
        self._nonfinite = 0 if math.isfinite(loss) else self._nonfinite + 1
        if is_certain(self._nonfinite, self._monitor.incidents, record.step, self._steps):
            self.stopped = trainer.should_stop = True
