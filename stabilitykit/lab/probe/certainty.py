"""When a run's verdict is as good as certain, so that the rest of its steps can be saved."""

import math

import lightning as L

from stabilitykit.detect.loss import LOSS
from stabilitykit.live.callbacks import StabilityMonitor
from stabilitykit.records import Incident

NONFINITE_STEPS = 10
"""Steps in a row without a finite loss: weights that are NaN stay so."""
OPEN_SHARE = 0.25
"""Share of the planned steps for which the loss must have failed, and a block's gradient vanished."""


def is_certain(nonfinite: int, incidents: tuple[Incident, ...], step: int, steps: int) -> bool:
    """Return whether a run would hardly get another verdict, whatever followed.

    A loss that is stuck or diverged often comes back while gradients still reach every block, and hardly
    ever where they have vanished as well. It remains a wager, and ``benchmarks/science/certainty.py`` says
    how often it is lost.

    Args:
        nonfinite: Steps in a row whose loss was not finite.
        incidents: The run's incidents so far.
        step: The present step.
        steps: Steps planned.
    """
    if nonfinite >= NONFINITE_STEPS:
        return True
    lasting = {each.kind for each in incidents if each.is_open and step - each.detected >= OPEN_SHARE * steps}
    return "vanishing_gradient" in lasting and not lasting.isdisjoint(("stuck", "divergence"))


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
        loss = record.readings.get(LOSS, 0.0)
        self._nonfinite = 0 if math.isfinite(loss) else self._nonfinite + 1
        if is_certain(self._nonfinite, self._monitor.incidents, record.step, self._steps):
            self.stopped = trainer.should_stop = True
