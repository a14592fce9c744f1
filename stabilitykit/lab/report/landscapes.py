"""What the pictures of a sweep are drawn from, taken from the sweep."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from stabilitykit.errors import RunFolderError
from stabilitykit.lab.report.landscape import (
    Ending,
    FailureOrder,
    Landscape,
    LandscapeRow,
    Setting,
    number,
    row_title,
    value_title,
)
from stabilitykit.lab.sweep.compare import Results, first_incidents
from stabilitykit.lab.sweep.compare.results import LR
from stabilitykit.lab.sweep.grid import Sweep, SweepRun
from stabilitykit.store import open_run

LOSS_ALONE = "the loss alone"
"""Nothing inside the model was announced."""


def landscape(sweep: Sweep, results: Results) -> Landscape:
    """Return how the runs of a sweep ended, over its axes.

    Args:
        sweep: The sweep.
        results: Which of its runs failed, and with which loss each counts.
    """
    x_name = _x_name(sweep)
    x_values = tuple(dict.fromkeys(_x(run, x_name) for run in sweep.runs))
    if all(isinstance(x, int | float) for x in x_values):
        x_values = tuple(sorted(x_values))
    names = tuple(axis.name for axis in sweep.plan.axes if axis.name != x_name)
    rows: dict[tuple[str, ...], dict[Any, list[SweepRun]]] = {}
    for run in sweep.runs:
        row = rows.setdefault(_values(run, names), {x: [] for x in x_values})
        row[_x(run, x_name)].append(run)
    found = tuple(
        LandscapeRow(values, tuple(_setting(x, runs, results) for x, runs in row.items()))
        for values, row in rows.items()
    )
    return Landscape(x_name, x_values, names, found, _unigram(sweep))


def failure_order(sweep: Sweep, results: Results) -> FailureOrder:
    """Return what left its band first in the runs that failed, by the slowest axis (the architecture).

    Args:
        sweep: The sweep.
        results: Which of its runs failed.
    """
    names = [axis.name for axis in sweep.plan.axes if axis.name != _x_name(sweep)][:1]
    groups = list(dict.fromkeys(_group(run, names) for run in sweep.runs))
    failing = [run for run in sweep.done if not results.stable(run)]
    return FailureOrder.of([(_group(run, names), _firsts(run)) for run in failing], groups)


def _firsts(run: SweepRun) -> list[str]:
    return list(dict.fromkeys(f"{each.kind}@{each.site}" for each in first_incidents(run))) or [LOSS_ALONE]


def title_of(run: SweepRun, names: Sequence[str]) -> str:
    """Return what a run is called: its values on some axes, and its seed.

    Args:
        run: A run of a sweep.
        names: The axes that are named.
    """
    values = {"arch": run.cell.spec.arch, **run.cell.values}
    told = [value_title(name, values[name]) for name in names if name in values]
    return " · ".join([*told, f"seed {run.cell.seed}"])


def _group(run: SweepRun, names: Sequence[str]) -> str:
    return row_title(names, _values(run, names)) if names else run.cell.spec.arch


def _x_name(sweep: Sweep) -> str:
    names = [axis.name for axis in sweep.plan.axes]
    if LR in names or not names:
        return LR
    numeric = [axis for axis in sweep.plan.axes if all(isinstance(x, int | float) for x in axis.values)]
    return max(numeric, key=lambda axis: len(axis.values)).name if numeric else names[-1]


def _x(run: SweepRun, name: str) -> Any:
    # Where the learning rate is no axis, it is still what stands below the picture.
    return run.cell.values.get(name, run.cell.spec.optimizer.lr)


def _values(run: SweepRun, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(number(run.cell.values[name]) for name in names)


def _setting(x: Any, runs: Sequence[SweepRun], results: Results) -> Setting:
    return Setting(x, len(runs), tuple(_endings(runs, results)))


def _endings(runs: Sequence[SweepRun], results: Results) -> Iterator[Ending]:
    for run in runs:
        if run.result is not None:
            final = run.result.final_loss
            yield Ending(
                seed=run.cell.seed,
                outcome=run.result.outcome,
                final_loss=final if final is not None and math.isfinite(final) else None,
                counted_loss=results.loss(run),
                run=run.cell.key,
                failed=not results.stable(run),
            )


def _unigram(sweep: Sweep) -> float | None:
    """Return the unigram entropy of the corpus, where it is the same for the first and the last run."""
    done = sweep.done
    found = {_entropy(run) for run in (done[:1] + done[-1:])}
    return found.pop() if len(found) == 1 else None


def _entropy(run: SweepRun) -> float | None:
    try:
        corpus = open_run(run.folder).config.get("corpus", {})
    except RunFolderError:
        return None
    entropy = corpus.get("unigram_entropy") if isinstance(corpus, dict) else None
    return float(entropy) if isinstance(entropy, int | float) else None
