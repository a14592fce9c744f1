"""What ``sweep --json`` prints of a sweep."""

from dataclasses import asdict
from typing import Any

from stabilitykit.lab.claims.judging import judge
from stabilitykit.lab.sweep.compare.pairs import differences
from stabilitykit.lab.sweep.compare.results import Results
from stabilitykit.lab.sweep.compare.summary import summarise
from stabilitykit.lab.sweep.compare.warmups import warmup_needed
from stabilitykit.lab.sweep.grid import Sweep, SweepRun
from stabilitykit.records import number_to_json


def comparison_json(sweep: Sweep) -> dict[str, Any]:
    """Return the comparison of a sweep as one document of plain data.

    Args:
        sweep: As ``open_sweep`` returns it; cells that have not ended are in no list.

    Returns:
        ``runs``, ``summary``, ``differences``, ``warmup_needed`` and ``claims``, each a list.

    Raises:
        ConfigError: A claim of the plan cannot be read.
    """
    results = Results(sweep)
    return {
        "runs": [_run(results, run) for run in sweep.done],
        "summary": [summary.to_json() for summary in summarise(sweep)],
        "differences": [difference.to_json() for difference in differences(sweep)],
        "warmup_needed": [needed.to_json() for needed in warmup_needed(sweep)],
        "claims": [claim.to_json() for claim in judge(sweep)],
    }


def _run(results: Results, run: SweepRun) -> dict[str, Any]:
    if run.result is None:
        return {}
    result = run.result
    return {
        "key": run.cell.key,
        "values": dict(run.cell.values),
        "seed": run.cell.seed,
        "outcome": result.outcome,
        "stable": results.stable(run),
        "reason": result.reason,
        "first_loss": _number(result.first_loss),
        "final_loss": _number(result.final_loss),
        "best_loss": _number(result.best_loss),
        "steps": result.steps,
        "stopped_early": result.stopped_early,
        "incidents": [asdict(incident) for incident in result.incidents],
        "logdir": str(run.folder),
    }


def _number(value: float | None) -> float | None:
    return None if value is None else number_to_json(value)
