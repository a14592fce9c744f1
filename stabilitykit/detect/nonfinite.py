"""NaN or Inf in any reading."""

from typing import Any, ClassVar

import numpy as np

from stabilitykit.detect.detector import Detector
from stabilitykit.records import Finding, Severity, StepRecord
from stabilitykit.tags import REGISTRY, site_of, split


class NonFinite(Detector):
    """Flags a reading that is not a number: its own event, and never part of a baseline.

    Readings stand in forward order, activations before gradients before updates, so the first of them
    names where it began. At most ``LISTED`` are listed a step.
    """

    kind: ClassVar[str] = "nonfinite"
    quiet: ClassVar[int] = 5

    LISTED = 8

    def __init__(self) -> None:
        super().__init__()
        self._since: dict[str, int] = {}

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding for each of the first readings that are not finite."""
        bad = np.flatnonzero(~np.isfinite(record.values))
        if bad.size == 0:
            self._since.clear()
            return []
        places = sorted(bad.tolist(), key=lambda place: _order(record.tags[place]))
        tags = [record.tags[place] for place in places]
        self._since = {tag: self._since.get(tag, record.step) for tag in tags}
        return [self._finding(record, tag) for tag in tags[: self.LISTED]]

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
            Severity.CRITICAL,
            message,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {"since": dict(self._since)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that ``state_dict`` returned."""
        self._since = dict(state["since"])


_FLOW = ("act", "attn", "output", "train", "optim/grad_norm", "grad", "optim", "norm")
_FAMILIES = {name: place for place, name in enumerate(REGISTRY)}


def _order(tag: str) -> tuple[int, int]:
    """Return where a tag stands in the flow of a step: forward, loss, backward, update."""
    name, _ = split(tag)
    flow = next((i for i, prefix in enumerate(_FLOW) if name.startswith(prefix)), len(_FLOW))
    return flow, _FAMILIES.get(name, len(_FAMILIES))
