"""The scorer of made-up runs, on a run counted by hand; and the runs themselves."""

import math

import numpy as np
import pytest

from benchmarks.detection.cases import FAMILIES, Case, Event, case, generate
from benchmarks.detection.families import pooled, score_families
from benchmarks.detection.log import Said, Tool, read_log
from benchmarks.detection.truth import count


def incident(start, end, detected=None, kind="loss_spike"):
    return {"kind": kind, "start": start, "end": end, "detected": start if detected is None else detected}


def spiky(*events):
    return case(np.ones(200), *events)


def test_a_run_counted_by_hand():
    said = Said(
        "recovered",
        [
            incident(50, 50),  # hits the first event
            incident(52, 52),  # a second one on it is neutral
            incident(104, 108, detected=106),  # hits the second, 6 points late
            incident(150, 151),  # false
            incident(160, 170, kind="gradient_spike"),  # says nothing of the loss
        ],
    )
    counts = count(spiky(Event(50, 50), Event(100, 110), Event(180, 180)), said)
    assert (counts.events, counts.hits, counts.false) == (3, 2, 1)
    assert counts.delays == [0, 6]
    # 200 points less 7 about each single spike and 17 about the wide one.
    assert counts.healthy == 200 - 7 - 17 - 7
    assert counts.recall == pytest.approx(2 / 3)
    assert counts.precision == pytest.approx(2 / 3)
    assert counts.false_per_10k == pytest.approx(1e4 / 169)
    assert counts.verdicts == {("spiky", "recovered"): 1}
    assert (counts.right, counts.clean, counts.full) == (1, 0, 0)


@pytest.mark.parametrize(
    ("said", "hits", "false"),
    [
        (incident(53, 53), 1, 0),  # three points off
        (incident(54, 54), 0, 1),  # four
        (incident(47, 47), 1, 0),
        (incident(50, 68), 1, 0),  # reaches 18 points beyond
        (incident(50, 69), 0, 1),  # too wide to be of any use
        (incident(0, None), 0, 1),  # one incident over the whole run says nothing
        (incident(50, 60, detected=53), 1, 0),
        (incident(50, 60, detected=54), 0, 1),  # announced too late
    ],
)
def test_what_hits_a_single_spike(said, hits, false):
    counts = count(spiky(Event(50, 50)), Said("recovered", [said]))
    assert (counts.hits, counts.false) == (hits, false)


@pytest.mark.parametrize(
    ("said", "hits", "false"),
    [
        ([incident(120, None, detected=150)], 1, 0),
        ([incident(85, None)], 1, 0),  # begins 15 points before
        ([incident(84, None)], 0, 1),
        ([incident(120, 130), incident(150, 155), incident(190, None)], 1, 0),  # more of it is neutral
    ],
)
def test_what_hits_a_divergence(said, hits, false):
    counts = count(spiky(Event(100, 199, open=True)), Said("diverged", said))
    assert (counts.hits, counts.false) == (hits, false)


def test_one_incident_hits_one_event():
    counts = count(spiky(Event(50, 50), Event(60, 60)), Said("recovered", [incident(50, 60)]))
    assert (counts.hits, counts.false) == (1, 0)


def test_ignored_stretches_count_neither_way():
    made = Case(spiky().log, ignore=((50, 50),))
    counts = count(made, Said("recovered", [incident(49, 51)]))
    assert (counts.false, counts.healthy, counts.right, counts.clean) == (0, 193, 1, 1)
    assert count(made, Said("recovered", [incident(90, 90)])).right == 0


def test_where_steps_repeat_the_later_row_counts():
    steps = np.concatenate([np.arange(100), np.arange(60, 160)])
    made = case(np.ones(200), Event(150, 150), steps=steps)
    # Row 150 is step 110.
    assert count(made, Said("recovered", [incident(110, 110)])).hits == 1
    assert count(made, Said("recovered", [incident(100, 100)])).false == 1


@pytest.mark.parametrize("name", list(FAMILIES))
def test_families_are_the_same_every_time_and_differ_between_seeds(name):
    made, again, other = generate(name, 0), generate(name, 0), generate(name, 1)
    assert np.array_equal(made.log.loss, again.log.loss, equal_nan=True)
    assert made.events == again.events
    assert not np.array_equal(made.log.loss, other.log.loss, equal_nan=True)
    assert all(0 <= e.first <= e.last < len(made.log) for e in made.events)
    assert len(made.log.steps) == len(made.log.loss)
    assert (made.truth == "healthy") == name.startswith("healthy")


def test_logs_survive_their_files(tmp_path):
    made = generate("NaN once, then a spike", 0)
    made.log.write(tmp_path / "run.csv")
    read = read_log(tmp_path / "run.csv")
    assert np.array_equal(read.loss, made.log.loss, equal_nan=True)
    assert np.array_equal(read.steps, made.log.steps)


def test_scores_add_up_over_runs_and_families():
    def judge(path, log):
        return Said("stable", [])

    names = ["isolated spikes", "healthy, constant"]
    ticks = []
    found = score_families(
        [Tool("mute", "mute", "a test", judge), Tool("g", "g", "a test", judge, needs="grad_norm")],
        names,
        3,
        lambda: ticks.append(1),
    )
    assert list(found) == ["mute"]
    assert len(ticks) == 6
    total = pooled(found["mute"])
    assert total.runs == 6
    assert total.recall == 0
    assert math.isnan(total.precision)
    assert total.verdicts_right == 0.5
    assert total.to_json()["precision"] is None
