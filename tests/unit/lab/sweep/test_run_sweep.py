"""The engine of a sweep, with workers that train nothing, and the cells that a bisection asks for."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stabilitykit.errors import ConfigError, DataError, RunFolderError
from stabilitykit.lab.claims import sweep
from stabilitykit.lab.sweep.backends import Ended, Job
from stabilitykit.lab.sweep.grid import (
    Cell,
    CellResult,
    Sweep,
    SweepPlan,
    SweepRun,
    asked_for,
    read_sweep,
    write_result,
)
from stabilitykit.lab.sweep.grid.lock import only_one
from stabilitykit.lab.sweep.inventory import removals, remove, take_inventory
from stabilitykit.lab.sweep.run_sweep import ATTEMPTS

DATA = {"data": {"kind": "synthetic", "synthetic": {"length": 20_000}}}
PLAN = SweepPlan(fields=DATA, seeds=(0, 1)).with_axes(
    {"arch": "pre_norm,post_norm", "optimizer.lr": "1e-3:1e-1:3"}
)


class Workers:
    """A pool that ends jobs in the reverse of the order in which it got them."""

    def __init__(self, slots: int = 2, end: Callable[[Job], CellResult | str] | None = None) -> None:
        self.slots = slots
        self.jobs: list[Job] = []
        self.most = 0
        self._end = end or (lambda job: CellResult("stable", "", final_loss=job.spec.optimizer.lr))
        self._waiting: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self._waiting.append(job)
        self.most = max(self.most, len(self._waiting))

    def wait(self, seconds: float) -> Sequence[Ended]:
        job = self._waiting.pop()
        outcome = self._end(job)
        if isinstance(outcome, str):
            return [Ended(job, None, outcome)]
        write_result(job.folder, outcome)
        return [Ended(job, outcome)]

    def close(self) -> None:
        self._waiting = []


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.asked_cells: list[int] = []
        self.ends: list[SweepRun] = []
        self.notices: list[str] = []

    def planned(self, plan: SweepPlan, logdir: Path, workers: int) -> None:
        self.workers = workers

    def asked(self, runs: Sequence[SweepRun]) -> None:
        self.asked_cells.append(len(runs))

    def ended(self, run: SweepRun) -> None:
        self.ends.append(run)

    def tick(self, running: Mapping[str, float]) -> None:
        assert all(0 <= share <= 1 for share in running.values())

    def notice(self, message: str) -> None:
        self.notices.append(message)


def results(swept: Sweep) -> dict[str, CellResult | None]:
    return {run.cell.key: run.result for run in swept.runs}


def test_every_cell_is_trained_once_and_told_of(tmp_path: Path) -> None:
    workers, listener = Workers(), Listener()
    swept = sweep(PLAN, workers, tmp_path, listener)
    assert len(swept.done) == len(swept.runs) == len(workers.jobs) == len(listener.ends) == 12
    assert workers.most == listener.workers == 2
    assert listener.asked_cells == [12]
    assert not sweep(PLAN, again := Workers(), tmp_path).plan.bisect
    assert again.jobs == []


def test_extending_a_sweep_trains_what_is_missing(tmp_path: Path) -> None:
    sweep(PLAN, Workers(), tmp_path)
    sweep(replace(PLAN, seeds=(0, 1, 2)), more := Workers(), tmp_path)
    assert len(more.jobs) == 6
    assert {job.spec.seed for job in more.jobs} == {2}


def test_other_sweeps_in_the_folder_share_cells(tmp_path: Path) -> None:
    sweep(PLAN, Workers(), tmp_path)
    other = replace(PLAN.with_axes({"arch": "pre_norm"}), name="other")
    swept = sweep(other, none := Workers(), tmp_path)
    assert none.jobs == []
    assert len(swept.done) == 6


def test_the_number_of_workers_changes_no_result(tmp_path: Path) -> None:
    one, five = (sweep(PLAN, Workers(n), tmp_path / str(n)) for n in (1, 5))
    assert results(one) == results(five)


def test_the_longest_cells_come_first(tmp_path: Path) -> None:
    plan = PLAN.with_axes({"model.n_layers": "2,8,4", "arch": "pre_norm"})
    sweep(plan, workers := Workers(), tmp_path)
    depths = [job.spec.model.n_layers for job in workers.jobs]
    assert depths == sorted(depths, reverse=True)
    assert workers.jobs[0].spec.optimizer.lr == 1e-3


def test_a_lost_worker_costs_an_attempt_and_no_result(tmp_path: Path) -> None:
    lost: list[Job] = []

    def end(job: Job) -> CellResult | str:
        if job.spec.optimizer.lr == 0.01 and lost.count(job) < ATTEMPTS - 1:
            lost.append(job)
            return "its process was killed"
        return CellResult("stable", "", final_loss=1.0)

    listener = Listener()
    swept = sweep(PLAN, Workers(end=end), tmp_path, listener)
    assert {run.result.outcome for run in swept.done if run.result} == {"stable"}
    assert len(lost) == 4 * (ATTEMPTS - 1) == len(listener.notices)
    assert "killed; trying again (2 of 3)" in listener.notices[0]


def test_a_cell_that_always_kills_its_worker_is_a_result(tmp_path: Path) -> None:
    kill = PLAN.with_axes({"arch": "pre_norm", "optimizer.lr": "1e-3"})
    swept = sweep(kill, workers := Workers(end=lambda job: "its process was killed"), tmp_path)
    assert len(workers.jobs) == 2 * ATTEMPTS
    assert {run.result.outcome for run in swept.done if run.result} == {"crashed"}
    sweep(kill, again := Workers(), tmp_path)
    assert again.jobs == []
    swept = sweep(kill, again, tmp_path, retry_crashed=True)
    assert len(again.jobs) == 2
    assert {run.result.outcome for run in swept.done if run.result} == {"stable"}


def test_a_run_that_was_stopped_early_serves_no_sweep_that_does_not_stop(tmp_path: Path) -> None:
    stopped = Workers(end=lambda job: CellResult("stuck", "", stopped_early=job.stop_when_certain))
    sweep(PLAN, stopped, tmp_path, stop_when_certain=True)
    sweep(PLAN, same := Workers(), tmp_path, stop_when_certain=True)
    assert same.jobs == []
    sweep(PLAN, full := Workers(), tmp_path)
    assert len(full.jobs) == 12


def test_two_sweeps_in_one_folder_at_a_time_are_refused(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(RunFolderError, match=r"process \d+ is sweeping here"):
        sweep(PLAN, Workers(), tmp_path)
    assert len(sweep(PLAN, Workers(), tmp_path).done) == 12


def test_a_sweep_that_is_removed_leaves_nothing_of_its_own(tmp_path: Path) -> None:
    sweep(PLAN, Workers(), tmp_path / "one")
    (kept,) = take_inventory(tmp_path / "one").sweeps
    (removal,) = removals([kept])
    for run in kept.runs:
        # These workers write nothing but results, which alone make no run's folder.
        shutil.rmtree(run.folder)
    assert remove(replace(removal, runs=()))
    assert list(tmp_path.iterdir()) == []


def test_what_every_cell_would_refuse_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        sweep(replace(PLAN, fields={"data": {"path": "nowhere"}}), Workers(), tmp_path)
    with pytest.raises(ConfigError, match="claim 1"):
        sweep(
            replace(PLAN, claims=({"says": "x", "measure": "beauty", "band": [0, 1]},)), Workers(), tmp_path
        )
    assert list(tmp_path.iterdir()) == []


def cliff(at: Mapping[int, float]) -> Callable[[Job], CellResult]:
    def end(job: Job) -> CellResult:
        lr = job.spec.optimizer.lr
        return CellResult("stable" if lr <= at[job.spec.seed] else "stuck", "", final_loss=2.0 + lr)

    return end


def test_a_bisection_finds_each_seeds_cliff_with_few_runs(tmp_path: Path) -> None:
    plan = SweepPlan(fields={"arch": "pre_norm", **DATA}, seeds=(0, 1), bisect="optimizer.lr").with_axes(
        {"optimizer.lr": "1e-3:1:2"}
    )
    cliffs = {0: 0.02, 1: 0.3}
    swept = sweep(plan, workers := Workers(3, cliff(cliffs)), tmp_path, listener := Listener())
    for seed, at in cliffs.items():
        mine = [run for run in swept.done if run.cell.seed == seed and run.result]
        held = max(r.cell.spec.optimizer.lr for r in mine if r.result and r.result.outcome == "stable")
        failed = min(r.cell.spec.optimizer.lr for r in mine if r.result and r.result.outcome == "stuck")
        assert held <= at < failed <= held * plan.resolution * 1.001
        assert len(mine) == 7 + 3
    assert len(workers.jobs) == 20
    assert listener.asked_cells[0] == 14
    assert listener.asked_cells[-1] == 20
    sweep(plan, again := Workers(), tmp_path)
    assert again.jobs == []
    assert results(read_sweep(plan, tmp_path)) == results(swept)


def test_a_bisection_asks_for_the_same_cells_whatever_ended_first(tmp_path: Path) -> None:
    plan = replace(PLAN, bisect="optimizer.lr")
    end = cliff({0: 0.004, 1: 0.05})
    swept = [sweep(plan, Workers(n, end), tmp_path / str(n)) for n in (1, 2, 7)]
    assert results(swept[0]) == results(swept[1]) == results(swept[2])


def test_a_bisection_stops_where_all_or_nothing_holds() -> None:
    plan = replace(PLAN.with_axes({"arch": "pre_norm"}), bisect="optimizer.lr")

    def holds(cell: Cell) -> CellResult:
        return CellResult("stable", "", final_loss=2.0)

    def fails(cell: Cell) -> CellResult:
        return CellResult("crashed", "")

    assert len(asked_for(plan, holds)) == len(asked_for(plan, fails)) == 10


def test_undertrained_runs_below_the_best_rate_do_not_end_a_bisection() -> None:
    plan = replace(PLAN.with_axes({"arch": "pre_norm"}), bisect="optimizer.lr")

    def result_of(cell: Cell) -> CellResult:
        lr = cell.spec.optimizer.lr
        return CellResult("stable", "", final_loss=4.0 if lr < 4e-3 or lr > 0.05 else 2.0)

    tried = {cell.spec.optimizer.lr for cell in asked_for(plan, result_of)}
    assert {lr for lr in tried if 0.03 < lr < 0.08} == {0.03162, 0.05623, 0.04217, 0.0487}


@pytest.mark.parametrize(
    ("axis", "message"), [("arch", "numbers above 0"), ("optimizer.lrr", "does not vary")]
)
def test_only_an_axis_of_numbers_can_be_bisected(axis: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^bisect: .*{message}"):
        asked_for(replace(PLAN, bisect=axis), lambda cell: None)
