"""Rows become records in order: restarts, repeated and late steps, epochs, whatever the batches."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stabilitykit.records import StepRecord
from stabilitykit.store.logs import timeline
from stabilitykit.store.logs.omissions import Omissions
from stabilitykit.store.logs.row_source import Row
from stabilitykit.store.logs.timeline import Timeline

COLUMNS = {"train/loss": "loss", "step": "step", "optim/lr": "lr"}


def through(rows: list[Row], columns=COLUMNS, batch: int = 10**9) -> tuple[list[StepRecord], tuple[str, ...]]:
    omissions = Omissions()
    line = Timeline(columns, omissions)
    records = [record for at in range(0, len(rows), batch) for record in line.push(rows[at : at + batch])]
    return [*records, *line.settle()], omissions.notes


def losses(records: list[StepRecord]) -> list[tuple[int, float]]:
    return [(record.step, record.readings["train/loss"]) for record in records]


def run(first: int, last: int, loss: float) -> list[Row]:
    return [[loss, float(step), None] for step in range(first, last)]


def test_a_run_taken_up_again_counts_from_its_first_step_on():
    records, notes = through([*run(0, 100, 1), *run(60, 80, 2)])
    assert losses(records) == [(i, 1) for i in range(60)] + [(i, 2) for i in range(60, 80)]
    assert notes == (
        "the log goes back to an earlier step, first to step 60",
        "older rows gave way where the log goes back to an earlier step: 40",
    )
    records, _ = through([*run(0, 100, 1), *run(60, 70, 2), *run(50, 90, 3)])
    assert losses(records) == [(i, 1) for i in range(50)] + [(i, 3) for i in range(50, 90)]


def test_a_log_in_no_order_is_sorted():
    steps = [9, 3, 7, 1, 8, 2, 7, 0]
    records, notes = through([[float(at), float(step), None] for at, step in enumerate(steps)])
    assert losses(records) == [(0, 7), (1, 3), (2, 5), (3, 1), (7, 6), (8, 4), (9, 0)]
    assert notes == ("rows that gave way to a newer one of the same step: 1",)


def test_readings_of_one_step_are_joined_and_nan_is_one():
    records, notes = through(
        [[None, 1.0, 0.5], [2.0, 1.0, None], [math.nan, 2.0, None], [None, 2.0, math.nan]]
    )
    assert records == [
        StepRecord.of(1, {"train/loss": 2.0, "optim/lr": 0.5}),
        StepRecord.of(2, {"train/loss": math.nan, "optim/lr": math.nan}),
    ]
    assert notes == ()


def test_steps_that_begin_anew_with_each_epoch_are_counted_on():
    columns = {"train/loss": "loss", "step": "step", "epoch": "epoch"}
    rows: list[Row] = [[1.0, float(step), float(epoch)] for epoch in range(3) for step in range(0, 40, 10)]
    records, notes = through(rows, columns, batch=5)
    assert [record.step for record in records] == list(range(0, 120, 10))
    assert notes == ("steps begin anew with each epoch, so they are counted on",)
    below: list[Row] = [[1.0, -3.0, None], [1.0, -5.0, 2.0], [1.0, -4.0, math.inf]]
    assert [record.step for record in through(below, columns)[0]] == [-5, -4, -3]
    restarted: list[Row] = [[1.0, float(step), 0.5] for step in (*range(10), *range(5, 10))]
    assert [record.step for record in through(restarted, columns)[0]] == list(range(10))


def test_without_steps_losses_are_counted():
    columns = {"train/loss": "loss", "optim/lr": "lr"}
    records, _ = through([[3.0, None], [None, 0.1], [2.0, None], [1.0, 0.2]], columns, batch=2)
    assert [(record.step, dict(record.readings)) for record in records] == [
        (0, {"train/loss": 3.0}),
        (1, {"train/loss": 2.0, "optim/lr": pytest.approx(0.1)}),
        (2, {"train/loss": 1.0, "optim/lr": pytest.approx(0.2)}),
    ]


def test_what_goes_back_farther_than_is_held_is_passed_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timeline, "_HELD", 256)
    records, notes = through([*run(0, 2000, 1), *run(100, 2500, 2)], batch=100)
    steps = [record.step for record in records]
    assert steps == list(range(2500))
    assert dict(losses(records))[100] == 1, "it had been given out"
    assert dict(losses(records))[2400] == 2
    assert any("had been judged already" in note for note in notes)


def test_a_restart_within_what_is_held_is_exact_across_batches(monkeypatch: pytest.MonkeyPatch):
    rows = [*run(0, 2000, 1), *run(1900, 3000, 2)]
    whole, _ = through(rows)
    monkeypatch.setattr(timeline, "_HELD", 256)
    assert through(rows, batch=70)[0] == whole


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(width=32)),
            st.one_of(
                st.none(), st.integers(-5, 30).map(float), st.sampled_from([0.5, math.nan, math.inf, 1e300])
            ),
            st.one_of(st.none(), st.floats(width=32)),
        ).map(list),
        max_size=60,
    ),
    st.integers(1, 20),
)
def test_any_rows_give_rising_steps_each_once_whatever_the_batches(rows: list[Row], batch: int):
    records, _ = through(rows)
    assert through(rows, batch=batch)[0] == records
    steps = [record.step for record in records]
    assert (np.diff(steps) > 0).all()
    assert {record.tags[0] for record in records} <= {"train/loss"}
    held = {row[1] for row in rows if row[0] is not None}
    assert set(steps) <= {int(step) for step in held if step is not None and math.isfinite(step)}
