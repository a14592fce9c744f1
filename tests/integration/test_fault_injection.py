"""Faults in whatever watching calls: training ends as it would have, bit for bit."""

import gc
import logging
import warnings
from collections.abc import Iterator

import pytest
from fault_injection.loops import differs, modes_left, plain_loop
from fault_injection.measure import OWN, Counts, called_from, inject
from fault_injection.targets import targets

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    logger = logging.getLogger("stabilitykit")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)
    # What was made to fail is dropped with its files open.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def assert_harmless(counts: Counts) -> None:
    assert counts.hit > 0
    assert counts.ended == []
    assert counts.altered == []
    assert counts.left == []


def test_training_is_compared_bit_by_bit() -> None:
    assert not differs(plain_loop(True), plain_loop(False))
    assert modes_left() == 0
    other = plain_loop(False)
    other[0] = other[0] + 1e-6
    assert differs(other, plain_loop(False))


def test_what_is_the_user_s_own_ends_nothing() -> None:
    assert_harmless(inject(OWN, ["Exception"], moments=(1,)))


def test_a_fault_in_the_monitor_itself_ends_nothing() -> None:
    named = ("live.monitor.Monitor.finish_step", "live.monitor.Monitor.close", "live.cadence.Cadence.is_due")
    chosen = [target for target in targets() if str(target).startswith(named)]
    assert len(chosen) == 3
    assert_harmless(inject(chosen, ["Exception", "wrong type"], moments=(1,)))


@pytest.mark.slow
def test_most_of_what_is_public_is_called() -> None:
    assert len(called_from(-1, targets())) > 150


@pytest.mark.slow
def test_a_fault_anywhere_ends_nothing() -> None:
    # What takes hooks and modes off again is left out: where it fails nothing else can, and what stays on
    # would be found by all that follows.
    chosen = [
        target for target in targets() if not str(target).startswith(("observe.active", "observe.hook"))
    ]
    assert_harmless(inject([*chosen[::9], *OWN], every=6))
