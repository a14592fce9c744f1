"""A detector of the user's own, live and replayed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stabilitykit import watch
from stabilitykit.afterwards.replay import replay
from stabilitykit.detect import Detector
from stabilitykit.detect.nonfinite import NonFinite
from stabilitykit.errors import ConfigError
from stabilitykit.records import Finding, Severity, StepRecord


class HighLoss(Detector):
    """Flags a loss above a limit."""

    kind = "high_loss"

    def __init__(self, limit: float = 2.0) -> None:
        super().__init__(limit=limit)

    def update(self, record: StepRecord) -> list[Finding]:
        """Return a finding where the loss is high."""
        loss, limit = record.readings["train/loss"], self.settings["limit"]
        if loss <= limit:
            return []
        step = record.step
        return [Finding(self.kind, "train/loss", step, step, loss, limit, Severity.WARNING, "high")]

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""


@pytest.mark.filterwarnings("ignore")
def test_it_judges_live_and_replayed_and_is_missed_where_it_is_not_there(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, tmp_path / "run", detectors=[HighLoss()]) as monitor:
        for loss in (1.0, 3.0, 1.0):
            monitor.step(loss)
    assert [(i.kind, i.start) for i in monitor.incidents] == [("high_loss", 1)]
    replayed = replay(tmp_path / "run", detectors=[HighLoss()])
    assert repr(replayed.verdict) == repr(monitor.verdict())
    assert not replayed.notes
    without = replay(tmp_path / "run")
    assert not without.verdict.incidents
    assert without.notes == ("the run was judged by the detector high_loss as well, which is not here",)


def test_what_is_no_detector_and_a_kind_that_is_there_are_refused() -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with (
        pytest.raises(ConfigError, match="must be a stabilitykit"),
        watch(model, optimizer, detectors=["mine"]),
    ):  # type: ignore[list-item]
        pass
    with pytest.raises(ConfigError, match="is there twice"), watch(model, optimizer, detectors=[NonFinite()]):
        pass
