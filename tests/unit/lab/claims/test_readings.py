"""Measures of readings, taken from run folders as they are on disk."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from stabilitykit.lab.claims import judge
from stabilitykit.lab.claims.evidence import Evidence
from stabilitykit.lab.claims.measures import RunMeasure
from stabilitykit.lab.claims.parsing import read_measure
from stabilitykit.lab.claims.sets import detrended
from stabilitykit.lab.sweep.compare import Bracket
from stabilitykit.lab.sweep.grid import SweepRun
from stabilitykit.records import StepRecord
from stabilitykit.store import Run, RunWriter

from ..conftest import MakeSweep, ended

Columns = Mapping[str, Sequence[float | None]]
Take = Callable[[Any, Columns], float | Bracket | None]


def write_run(run: SweepRun, columns: Columns) -> None:
    """Write a run's folder with a column a tag; None is a step at which it was not read."""
    writer = RunWriter(run.folder, {"arch": "pre_norm"})
    for step, row in enumerate(zip(*columns.values(), strict=True)):
        readings = {tag: value for tag, value in zip(columns, row, strict=True) if value is not None}
        writer.record(StepRecord.of(step, readings))
    writer.close()


@pytest.fixture
def take(made_sweep: MakeSweep) -> Take:
    """Return a function that takes a measure of a run with some readings."""

    def taken(measure: Any, columns: Columns) -> float | Bracket | None:
        sweep = made_sweep({"schedule.warmup": [0]}, lambda values, seed: ended(2.0), seeds=1)
        if not sweep.runs[0].folder.exists():
            write_run(sweep.runs[0], columns)
        read = read_measure(measure, "claim 1.measure")
        assert isinstance(read, RunMeasure)
        return read.of(Evidence(sweep), sweep.runs[0])

    return taken


NORMS: Columns = {
    "grad/norm/embed": [100.0, 100.0, 100.0],
    "grad/norm/blocks.00": [8.0, 6.0, 2.0],
    "grad/norm/blocks.01": [4.0, 3.0, 4.0],
    "grad/norm/blocks.02": [2.0, 1.0, 8.0],
    "grad/norm/head": [50.0, 50.0, 50.0],
}


@pytest.mark.parametrize(
    ("sites", "steps", "number"),
    [
        ("max", "first", 8.0),
        ("min", "last", 2.0),
        ("mean", 1, 10 / 3),
        ("first", "max", 8.0),
        ("last", "min", 1.0),
        ("last", "median", 2.0),
        ("first/last", "first", 4.0),
        ("first/last", "last", 0.25),
        ("max", "last/first", 1.0),
        ("last", "max/first", 4.0),
        ("head", "mean", 50.0),
        ("blocks.0[01]", "first", 6.0),
        ("max", 7, None),
    ],
)
def test_sites_are_those_in_blocks_and_steps_come_after(
    take: Take, sites: str, steps: str | int, number: float | None
) -> None:
    found = take({"reading": "grad/norm", "sites": sites, "steps": steps}, NORMS)
    assert found == (None if number is None else pytest.approx(number))


def test_ten_blocks_stand_in_order_of_depth(take: Take) -> None:
    columns = {f"grad/norm/blocks.{block}": [float(block)] for block in (10, 9, 11, 0)}
    assert take({"reading": "grad/norm", "sites": "last", "steps": "first"}, columns) == 11


def test_among_picks_one_site_of_each_block(take: Take) -> None:
    columns = {
        "act/rms/blocks.00.resid_post": [2.0],
        "act/rms/blocks.00.mlp_out": [90.0],
        "act/rms/blocks.01.resid_post": [3.0],
        "act/rms/final_norm_in": [99.0],
    }
    measure = {"reading": "act/rms", "sites": "max", "among": "*.resid_post", "steps": "last"}
    assert take(measure, columns) == 3


def test_the_mean_square_of_a_reading_without_sites(take: Take) -> None:
    measure = {"reading": "output/log_z", "power": 2, "steps": "mean"}
    assert take(measure, {"output/log_z": [1.0, -2.0, 3.0]}) == pytest.approx(14 / 3)


def test_only_steps_between_two_count(take: Take) -> None:
    measure = {"reading": "output/log_z", "steps": "max", "between": [1, 2]}
    assert take(measure, {"output/log_z": [9.0, -2.0, 3.0, 9.0]}) == 3


def test_the_end_is_the_mean_of_the_last_twentieth(take: Take) -> None:
    values = [0.0] * 38 + [2.0, 4.0]
    assert take({"reading": "output/log_z"}, {"output/log_z": values}) == 3


def test_what_is_not_a_number_is_left_out(take: Take) -> None:
    columns = {"output/log_z": [1.0, 5.0, math.inf, math.nan]}
    assert take({"reading": "output/log_z", "steps": "last"}, columns) == 5
    assert take({"reading": "output/log_z", "steps": "max/first"}, columns) == 5


def test_steps_at_which_a_site_was_not_read_do_not_count(take: Take) -> None:
    columns = {"act/massive/blocks.00": [1.0, None, 3.0], "act/massive/blocks.01": [2.0, 50.0, None]}
    assert take({"reading": "act/massive", "sites": "max", "steps": "max"}, columns) == 2


def test_a_run_without_such_readings_or_without_a_folder_has_no_number(
    take: Take, made_sweep: MakeSweep
) -> None:
    assert take({"reading": "attn/entropy", "sites": "min"}, NORMS) is None
    claim = {"says": "so", "measure": {"reading": "output/log_z"}, "band": [0, 1]}
    (result,) = judge(made_sweep({"schedule.warmup": [1]}, lambda values, seed: ended(2.0), claims=(claim,)))
    assert (result.outcome, result.n) == ("undecided", 0)
    assert result.note == "3 of 3 seeds left out, not all of their runs have the number"


SHARES: Columns = {
    "grad/share/blocks.00": [0.5, 0.009, 0.5, 0.5, 0.009, 0.008, 0.007, 0.5],
    "grad/share/blocks.01": [0.5, 0.5, 0.009, 0.5, 0.5, 0.5, 0.5, 0.5],
    "grad/share/embed": [0.001] * 8,
}


@pytest.mark.parametrize(
    ("in_a_row", "level", "found"),
    [
        (1, {"below": 0.01}, Bracket(0, 1, 1)),
        (2, {"below": 0.01}, Bracket(0, 1, 1)),
        (3, {"below": 0.01}, Bracket(3, 4, 4)),
        (4, {"below": 0.01}, Bracket(240, 240, math.inf)),
        (9, {"below": 0.01}, Bracket(240, 240, math.inf)),
        (1, {"above": 0.4}, Bracket(-1, 0, 0)),
    ],
)
def test_a_crossing_is_the_first_step_of_some_in_a_row(
    take: Take, in_a_row: int, level: Mapping[str, float], found: Bracket
) -> None:
    measure = {"reading": "grad/share", "sites": "min", "for": in_a_row, **level}
    assert take(measure, SHARES) == found


def test_a_crossing_is_known_to_the_readings_around_it(take: Take) -> None:
    columns = {"train/loss": [1.0] * 5, "act/massive/blocks.00": [1.0, None, None, 9.0, None]}
    assert take({"reading": "act/massive", "sites": "max", "above": 5}, columns) == Bracket(0, 3, 3)


def test_a_lead_is_from_one_event_to_the_other(take: Take) -> None:
    event = {"reading": "grad/share", "sites": "min", "below": 0.01, "for": 3}
    later = {"reading": "grad/share", "sites": "first", "above": 0.4, "for": 1}
    never = {"reading": "grad/share", "sites": "first", "above": 0.9, "for": 1}
    assert take({"lead": event, "until": later}, SHARES) == Bracket(-5, -4, -3)
    assert take({"lead": event, "until": never}, SHARES) == Bracket(236, 236, math.inf)
    assert take({"lead": never, "until": event}, SHARES) == Bracket(-math.inf, -236, -236)
    assert take({"lead": never, "until": never}, SHARES) is None


def test_a_moving_mean_is_what_a_series_loses() -> None:
    line = np.arange(20.0)
    assert detrended(line, 5) == pytest.approx(np.zeros(16))
    line[10] += 5
    assert detrended(line, 5)[8] == pytest.approx(4)


def correlated(
    made_sweep: MakeSweep, shared: float, band: Sequence[float | None], broken: int | None = None
) -> Any:
    """Judge the correlation of runs whose losses share their course, and so much of their noise.

    From the step ``broken`` on, one of them ends in NaN.
    """
    claim = {
        "says": "so",
        "measure": {"correlation": "train/loss"},
        "where": {"schedule.warmup": 0},
        "with": {"schedule.warmup": 24},
        "band": band,
    }
    sweep = made_sweep({"schedule.warmup": [0, 24]}, lambda values, seed: ended(2.0), claims=(claim,))
    course = 5 * np.exp(-np.arange(240) / 60)
    common = np.random.default_rng(0).standard_normal((3, 240))
    for number, run in enumerate(sweep.runs):
        own = np.random.default_rng(100 + number).standard_normal(240)
        noise = math.sqrt(shared) * common[run.cell.seed] + math.sqrt(1 - shared) * own
        losses = course + 0.1 * noise
        if broken is not None and number >= 3:
            losses[broken:] = math.nan
        write_run(run, {"train/loss": losses.tolist()})
    (result,) = judge(sweep)
    return result


def test_step_losses_are_correlated_apart_from_their_course(made_sweep: MakeSweep) -> None:
    alike = correlated(made_sweep, 0.9, [0.7, None])
    assert alike.outcome == "holds"
    # Three correlations of 220 steps: standard error 0.007 each.
    assert alike.value == pytest.approx(0.9, abs=0.03)


def test_runs_that_share_only_their_course_are_not_correlated(made_sweep: MakeSweep) -> None:
    apart = correlated(made_sweep, 0.0, [0.7, None])
    assert apart.outcome == "does not hold"
    assert apart.value == pytest.approx(0.0, abs=0.15)


def test_losses_are_correlated_up_to_where_one_is_no_number(made_sweep: MakeSweep) -> None:
    assert correlated(made_sweep, 0.9, [0.7, None], broken=120).outcome == "holds"


def test_a_few_steps_are_no_correlation(made_sweep: MakeSweep) -> None:
    found = correlated(made_sweep, 0.9, [0.7, None], broken=41)
    assert (found.outcome, found.n) == ("undecided", 0)
    assert found.note == "3 of 3 seeds left out, not all of their runs have the number"


def test_only_the_columns_asked_for_are_read(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    column = Run.column

    def noted(run: Run, tag: str) -> Any:
        read.append(tag)
        return column(run, tag)

    monkeypatch.setattr(Run, "column", noted)
    monkeypatch.delattr(Run, "records")
    take({"reading": "grad/norm", "sites": "first/last", "steps": "first"}, NORMS)
    assert read == [f"grad/norm/blocks.0{block}" for block in range(3)]
