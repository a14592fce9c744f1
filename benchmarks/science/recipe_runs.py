"""Several recipes trained into one folder, one after another, with a bar of progress for each."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from stabilitykit.lab.claims import sweep
from stabilitykit.lab.sweep import LocalPool, SweepPlan, SweepRun


def trained(plans: Sequence[SweepPlan], folder: Path, workers: int, console: Console) -> Iterator[SweepPlan]:
    """Train what is missing of each recipe, and yield the recipe once it is done.

    Args:
        plans: The recipes, in the order in which they are to be trained.
        folder: Where all runs go; what is there already is not trained again.
        workers: Runs at a time, each with one thread.
        console: Where progress is shown.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    pool = LocalPool(workers)
    try:
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            for plan in plans:
                console.print(f"[bold]{plan.name}[/]: {plan.about['question']}", highlight=False)
                sweep(plan, pool, folder, Bar(progress, console, plan.name))
                yield plan
    finally:
        pool.close()


class Bar:
    """Shows how many cells of a recipe are done."""

    def __init__(self, progress: Progress, console: Console, name: str) -> None:
        self._progress = progress
        self._console = console
        self._task = progress.add_task(name, total=None)

    def planned(self, plan: SweepPlan, logdir: Path, workers: int) -> None:
        """Called before the first cell."""

    def asked(self, runs: Sequence[SweepRun]) -> None:
        """Show how many cells there are and how many of them are there already."""
        done = sum(run.result is not None for run in runs)
        self._progress.update(self._task, total=len(runs), completed=done)

    def ended(self, run: SweepRun) -> None:
        """Move on."""
        self._progress.advance(self._task)

    def tick(self, running: Mapping[str, float]) -> None:
        """Called a few times a second; what is shown moves by whole cells."""

    def notice(self, message: str) -> None:
        """Print a line."""
        self._console.print(message)
