"""A sweep: every cell that is asked for and not there yet, on as many workers as there are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from stabilitykit.lab.probe.spec import ProbeSpec
from stabilitykit.lab.sweep.backends import Ended, Job, Pool
from stabilitykit.lab.sweep.grid import (
    Cell,
    CellResult,
    Sweep,
    SweepPlan,
    SweepRun,
    asked_for,
    read_result,
    read_sweep,
    write_plan,
    write_result,
)
from stabilitykit.lab.sweep.grid.folder import remove_plan_leftovers
from stabilitykit.lab.sweep.grid.lock import only_one
from stabilitykit.lab.sweep.grid.plan import NAME
from stabilitykit.lab.sweep.hparams import write_cell_hparams, write_sweep_hparams
from stabilitykit.lab.training.corpus import load_corpus
from stabilitykit.store.contents import PROGRESS
from stabilitykit.store.disk import read_file
from stabilitykit.store.documents import parse_json

RUNS = Path("runs")
ATTEMPTS = 3
"""How often a cell is tried whose worker was lost; what kills it three times would do so again."""
_SECONDS = 0.25


class SweepListener(Protocol):
    """Follows a sweep while it runs."""

    def planned(self, plan: SweepPlan, logdir: Path, workers: int) -> None:
        """Called once, before the first cell."""

    def asked(self, runs: Sequence[SweepRun]) -> None:
        """Called with all cells asked for, done or not: once, and again when a bisection goes on."""

    def ended(self, run: SweepRun) -> None:
        """Called when a cell has ended."""

    def tick(self, running: Mapping[str, float]) -> None:
        """Called a few times a second, with the share done of each running cell, by its key."""

    def notice(self, message: str) -> None:
        """Called with one line that the user should see."""


def run_sweep(
    plan: SweepPlan,
    pool: Pool,
    logdir: Path | None = None,
    listener: SweepListener | None = None,
    *,
    stop_when_certain: bool = False,
    retry_crashed: bool = False,
) -> Sweep:
    """Train every cell of a plan that its folder does not hold yet, and return them all.

    A cell that diverges or crashes is a result like any other. Whatever ends the sweep, the same call goes on
    with what is missing, and ends with the same numbers. The pool is left open. What the plan claims is not
    looked at: ``stabilitykit.lab.claims.sweep`` checks that first.

    Args:
        plan: What to train.
        pool: Who trains it.
        logdir: Folder of the sweep, which other sweeps may share; ``runs/sweep-<name>`` unless given,
            and ``runs/sweep`` for one without a recipe.
        listener: Follows the sweep.
        stop_when_certain: Whether to end a cell once its verdict is as good as certain. Such cells say so,
            and are trained anew by a sweep that does not.
        retry_crashed: Whether cells that crashed are tried again.

    Raises:
        ConfigError: A cell's configuration is refused.
        DataError: A corpus cannot be used.
        RunFolderError: The folder cannot be written, or another sweep is at work in it.
    """
    folder = logdir or RUNS / (NAME if plan.name == NAME else f"{NAME}-{plan.name}")
    _check_data([cell.spec for cell in asked_for(plan, lambda cell: None)])
    with only_one(folder):
        remove_plan_leftovers(folder)
        write_plan(folder, plan)
        write_sweep_hparams(folder)
        if listener:
            listener.planned(plan, folder, pool.slots)
        engine = _Engine(plan, pool, folder, listener, stop_when_certain, retry_crashed)
        engine.run()
        return read_sweep(plan, folder)


class _Engine:
    """Keeps every worker busy with the next cell, the longest first."""

    def __init__(
        self,
        plan: SweepPlan,
        pool: Pool,
        folder: Path,
        listener: SweepListener | None,
        stop_when_certain: bool,
        retry_crashed: bool,
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._folder = folder
        self._listener = listener
        self._stop_when_certain = stop_when_certain
        self._retry_crashed = retry_crashed
        self._results: dict[str, CellResult] = {}
        self._absent: set[str] = set()
        self._queue: list[Cell] = []
        self._running: dict[Path, Cell] = {}
        self._attempts: dict[str, int] = {}

    def run(self) -> None:
        """Return when every cell that is asked for has ended."""
        self._ask()
        while self._queue or self._running:
            while self._queue and len(self._running) < self._pool.slots:
                self._start(self._queue.pop())
            ended = self._pool.wait(_SECONDS)
            for each in ended:
                self._take(each)
            if ended and self._plan.bisect is not None:
                self._ask()
            if self._listener:
                self._listener.tick({cell.key: _share(folder) for folder, cell in self._running.items()})

    def _ask(self) -> None:
        """Queue what is asked for and neither there nor on its way."""
        cells = {cell.key: cell for cell in asked_for(self._plan, self._result_of)}
        known = {cell.key for cell in (*self._queue, *self._running.values())}
        fresh = [cell for cell in cells.values() if self._result_of(cell) is None and cell.key not in known]
        # The last is taken first: the longest, and of equals the first that was asked for.
        self._queue = sorted([*self._queue, *reversed(fresh)], key=lambda cell: _cost(cell.spec))
        if self._listener:
            self._listener.asked([self._run_of(cell) for cell in cells.values()])

    def _result_of(self, cell: Cell) -> CellResult | None:
        if cell.key not in self._results and cell.key not in self._absent:
            result = read_result(self._folder / cell.key)
            if result is not None and self._counts(result):
                self._results[cell.key] = result
            else:
                self._absent.add(cell.key)
        return self._results.get(cell.key)

    def _counts(self, result: CellResult) -> bool:
        if result.stopped_early and not self._stop_when_certain:
            return False
        return not (self._retry_crashed and result.outcome == "crashed")

    def _start(self, cell: Cell) -> None:
        folder = self._folder / cell.key
        self._attempts[cell.key] = self._attempts.get(cell.key, 0) + 1
        self._running[folder] = cell
        self._pool.submit(Job(cell.spec, folder, self._stop_when_certain))

    def _take(self, ended: Ended) -> None:
        cell = self._running.pop(ended.job.folder)
        result = ended.result or self._lost(cell, ended.lost or "its worker was told to stop")
        if result is None:
            self._queue.append(cell)
            return
        self._results[cell.key] = result
        run = self._run_of(cell)
        write_cell_hparams(run)
        if self._listener:
            self._listener.ended(run)

    def _lost(self, cell: Cell, why: str) -> CellResult | None:
        """Return the result of a cell whose worker is gone once too often; None where it is tried again."""
        attempts = self._attempts[cell.key]
        if attempts < ATTEMPTS:
            if self._listener:
                self._listener.notice(f"{cell.key}: {why}; trying again ({attempts + 1} of {ATTEMPTS})")
            return None
        result = CellResult("crashed", f"{why}, {attempts} times; is there memory enough?")
        write_result(self._folder / cell.key, result)
        return result

    def _run_of(self, cell: Cell) -> SweepRun:
        return SweepRun(cell, self._folder / cell.key, self._results.get(cell.key))


def _check_data(specs: Sequence[ProbeSpec]) -> None:
    """Refuse what every cell would refuse, before any is started."""
    for spec in {spec.data.model_dump_json(): spec for spec in specs}.values():
        load_corpus(spec.data)


def _cost(spec: ProbeSpec) -> int:
    """Return what a run takes, in a unit that all share: multiplications, more or less."""
    model = spec.model
    tokens = spec.trainer.steps * spec.data.batch_size * model.seq_len
    width = model.d_model * (4 * model.d_model + 3 * model.d_ff + 2 * model.seq_len)
    return tokens * (model.n_layers * width + model.d_model * model.vocab_size)


def _share(folder: Path) -> float:
    """Return how much of a running cell is done, as it says itself; 0 where it says nothing."""
    try:
        document = parse_json(read_file(folder / PROGRESS))
        return float(document["step"]) / float(document["steps"])
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
        return 0.0
