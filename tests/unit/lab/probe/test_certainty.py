"""When a run's verdict is as good as certain."""

import pytest

from stabilitykit.lab.probe.certainty import NONFINITE_STEPS, is_certain
from stabilitykit.records import Incident, Severity


def incident(kind: str, detected: int, end: int | None = None) -> Incident:
    return Incident(0, kind, detected, detected, detected, end, "x", Severity.CRITICAL, 1.0, 1.0, "")


@pytest.mark.parametrize(
    ("stuck", "vanished", "step", "certain"),
    [
        ((10, None), (10, None), 35, True),
        ((10, None), (10, None), 34, False),
        ((10, None), (20, None), 40, False),
        ((10, None), (20, None), 45, True),
        ((10, 30), (10, None), 60, False),
        ((10, None), (10, 30), 60, False),
        ((10, None), None, 99, False),
    ],
)
def test_a_failed_loss_and_a_vanished_gradient_must_last_a_quarter_of_the_run(
    stuck: tuple[int, int | None], vanished: tuple[int, int | None] | None, step: int, certain: bool
) -> None:
    incidents = [
        incident("stuck", *stuck),
        *([incident("vanishing_gradient", *vanished)] if vanished else []),
    ]
    assert is_certain(0, tuple(incidents), step, 100) is certain


def test_a_loss_that_is_no_number_for_long_is_certain() -> None:
    assert is_certain(NONFINITE_STEPS, (), 20, 100)
    assert not is_certain(NONFINITE_STEPS - 1, (), 20, 100)
