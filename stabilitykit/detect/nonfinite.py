"""NaN or Inf in any reading."""

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.detector import Detector
from stabilitykit.detect.update_spike import RATE
from stabilitykit.records import Finding, Severity, StepRecord
from stabilitykit.tags import REGISTRY, site_of, split


class NonFinite(Detector):
    """Flags a reading that is not a number: its own event, and never part of a baseline.

    Readings stand in forward order, activations before gradients before updates, so the first of them
    names where it began. At most ``LISTED`` are listed a step.

    A loss scaler finds the largest scale that the gradients bear by overflowing now and then: it skips such
    a step and halves the scale. Gradients that are not finite at a skipped step are no alarm, unless
    ``SKIPS`` steps in a row are skipped: by then the scale has fallen a thousandfold, so the cause is
    elsewhere.

    A learning rate is set and not computed: logs write NaN where they do not know it. It is evidence only.
    """

    kind: ClassVar[str] = "nonfinite"
    quiet: ClassVar[int] = 5

    LISTED = 8
    SKIPS = 10
    """Steps skipped in a row from which on gradients count although a loss scaler skips for them."""

    state: ClassVar[tuple[str, ...]] = ("since", "skips")

    def __init__(self) -> None:
        super().__init__()
        self._since: dict[str, int] = {}
        self._skips = 0

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding for each of the first readings that are not finite."""
        bad = _not_finite(record)
        bad = self._without_overflow(record, bad)
        if bad.size == 0:
            self._since.clear()
            return []
        places = sorted(bad.tolist(), key=lambda place: _order(record.tags[place]))
        tags = [record.tags[place] for place in places]
        self._since = {tag: self._since.get(tag, record.step) for tag in tags}
        # Of a rate that a log never knows one finding is enough.
        told = [tag for tag in tags if tag != RATE or self._since[tag] == record.step]
        return [self._finding(record, tag) for tag in told[: self.LISTED]]

    def _without_overflow(self, record: StepRecord, bad: NDArray[np.intp]) -> NDArray[np.intp]:
        """Leave out gradients where a loss scaler has skipped the step for them, as it is meant to."""
        if record.readings.get("optim/skipped") != 1 or "optim/loss_scale" not in record.readings:
            self._skips = 0
            return bad
        self._skips += 1
        if self._skips >= self.SKIPS:
            return bad
        gradient = [record.tags[i].startswith(("grad/", "optim/grad_norm")) for i in bad.tolist()]
        return bad[np.flatnonzero(~np.array(gradient, dtype=bool))]

    def _finding(self, record: StepRecord, tag: str) -> Finding:
        value = record.readings[tag]
        message = f"{tag} is {value}"
        return Finding(
            self.kind,
            site_of(tag),
            record.step,
            self._since[tag],
            value,
            float(np.finfo(np.float32).max),
            Severity.INFO if tag == RATE else Severity.CRITICAL,
            message,
        )


_FEW = 8
"""Readings up to which Python is faster than NumPy."""


def _not_finite(record: StepRecord) -> NDArray[np.intp]:
    if len(record.tags) <= _FEW and all(map(math.isfinite, record.readings.values())):
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(~np.isfinite(record.values))


_FLOW = ("act", "attn", "output", "train", "optim/grad_norm", "grad", "optim", "norm")
_FAMILIES = {name: place for place, name in enumerate(REGISTRY)}


def _order(tag: str) -> tuple[int, int]:
    """Return where a tag stands in the flow of a step: forward, loss, backward, update."""
    name, _ = split(tag)
    flow = next((i for i, prefix in enumerate(_FLOW) if name.startswith(prefix)), len(_FLOW))
    return flow, _FAMILIES.get(name, len(_FAMILIES))
