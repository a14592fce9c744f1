"""Spikes of runs on a repeated corpus."""

import numpy as np
import pytest
from unit.benchmarks.alarms.made import made

from benchmarks.alarms.humps import humps
from benchmarks.alarms.labels import Kind, label_runs
from benchmarks.alarms.rules import Rules


def small(n=400):
    """A loss that falls to 0.1."""
    return 0.1 + 5 * np.exp(-np.arange(n) / 15)


def bump(loss, start, top, width):
    out = loss.copy()
    out[start : start + width] += top * np.sin(np.pi * np.arange(width) / width)
    return out


def test_a_hump_is_found_with_its_onset_peak_and_recovery():
    found = humps(bump(small(), 200, 0.4, 60), Rules())
    assert len(found) == 1
    hump = found[0]
    assert 198 <= hump.onset <= 206
    assert hump.onset < hump.crossing < hump.peak
    assert hump.peak == pytest.approx(232, abs=3)
    assert 255 <= hump.recovery <= 265


def test_a_falling_loss_has_none():
    assert humps(small(), Rules()) == ()


def test_one_batch_alone_is_none():
    loss = small()
    loss[200:202] += 1.0
    assert humps(loss, Rules()) == ()


def test_two_humps_are_two_events_each_warned_of_only_after_the_one_before():
    loss = bump(bump(small(), 150, 0.4, 40), 260, 0.5, 40)
    label = label_runs([made("run", loss, unigram=0.0, arm="repeated")])["run"]
    assert label.kind is Kind.SPIKING
    first, second = label.events
    assert first.since == 1
    assert second.since == first.recovery + 1
    assert first.recovery < second.onset


def test_what_does_not_come_back_is_one_event_without_recovery():
    loss = small()
    loss[200:] = 1.0
    found = humps(loss, Rules())
    assert [(h.crossing, h.recovery) for h in found] == [(202, None)]


def test_a_large_loss_has_to_rise_by_nats():
    loss = np.full(300, 2.0) + np.random.default_rng(0).normal(0, 0.01, 300)
    assert humps(bump(loss, 150, 0.2, 40), Rules()) == ()
    assert len(humps(bump(loss, 150, 0.8, 40), Rules())) == 1
