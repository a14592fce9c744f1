"""Records and incidents to write."""

from collections.abc import Callable

import pytest

from stabilitykit.records import Finding, Incident, IncidentChange, Severity


@pytest.fixture
def make_change() -> Callable[..., IncidentChange]:
    """Return a maker of incident changes with evidence at its own step."""

    def make(step: int, id: int = 0, what: str = "opened", end: int | None = None, value: float = 9.0):
        finding = Finding("loss_spike", "train/loss", step, step, value, 5.0, Severity.WARNING, "up | high")
        incident = Incident(
            id=id,
            kind="loss_spike",
            start=step,
            detected=step,
            peak=step,
            end=end,
            site="train/loss",
            severity=Severity.WARNING,
            value=value,
            threshold=5.0,
            message="the loss rose | a lot",
            causes=("learning rate",),
            remedies=("lower the learning rate",),
            evidence=(finding,),
        )
        return IncidentChange(what, step, incident)

    return make
