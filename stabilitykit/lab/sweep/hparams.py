"""A sweep in TensorBoard's HPARAMS tab: one row a cell, its values beside what came of it."""

from pathlib import Path
from typing import Any

from stabilitykit.lab.sweep.grid.folder import SweepRun, load_plan, plan_files
from stabilitykit.lab.sweep.hparam_events import write_hparam_columns, write_hparams

VERDICTS = ("stable", "recovered", "stuck", "diverged", "crashed", "unknown")
"""What the numbers from 0 in the column ``verdict`` stand for: TensorBoard's metrics are numbers. Those of
sweeps that are kept must not change their meaning, so what came later stands last."""
METRICS = {
    "final_loss": "Mean of the last 5 % of the steps, in nats; the first loss where that is not a number.",
    "best_loss": "Lowest mean over as many steps in a row, in nats; likewise.",
    "verdict": ", ".join(f"{number} {word}" for number, word in enumerate(VERDICTS)),
    "incidents": "How many, of all kinds.",
}
_SEED = "seed"


def write_cell_hparams(run: SweepRun) -> None:
    """Show a cell that has ended as a row of TensorBoard's HPARAMS tab.

    Args:
        run: The cell; nothing is written while it has no result.

    Raises:
        RunFolderError: The disk did not take it.
    """
    result = run.result
    if result is None:
        return
    metrics = {
        # Without a number TensorBoard would plot all cells but those that failed.
        "final_loss": result.first_loss if result.final_loss is None else result.final_loss,
        "best_loss": result.first_loss if result.best_loss is None else result.best_loss,
        "verdict": float(VERDICTS.index(result.outcome)),
        "incidents": float(len(result.incidents)),
    }
    values = {**run.cell.values, _SEED: run.cell.seed}
    write_hparams(run.folder, values, metrics, failed=result.outcome == "crashed")


def write_sweep_hparams(folder: Path) -> None:
    """Say which columns TensorBoard's HPARAMS tab has for a folder: the axes of all sweeps in it, and seeds.

    TensorBoard puts the columns that vary first, and sorts by name among these.

    Args:
        folder: The folder of one or several sweeps, with their plans.

    Raises:
        RunFolderError: A plan cannot be read, or the disk did not take it.
    """
    plans = [load_plan(file) for file in plan_files(folder)]
    columns: dict[str, list[Any]] = {}
    for plan in plans:
        for axis in plan.axes:
            columns.setdefault(axis.name, []).extend(axis.values)
    seeds = {_SEED: [seed for plan in plans for seed in plan.seeds]}
    write_hparam_columns(folder, columns | seeds, METRICS)
