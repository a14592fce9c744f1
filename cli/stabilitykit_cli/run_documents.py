"""Runs and sweeps as they stand in JSON documents."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stabilitykit.lab.sweep.inventory import KeptSweep
    from stabilitykit.store.inventory import KeptRun


def run_document(run: "KeptRun", sweeps: "Sequence[KeptSweep]") -> dict[str, Any]:
    """Return a run, and the plans of the sweeps that it is a cell of."""
    return {
        "folder": str(run.folder),
        "state": run.state,
        "arch": run.arch,
        "steps": run.steps,
        "verdict": run.outcome,
        "final_loss": run.final_loss,
        "incidents": run.incidents,
        "size_bytes": run.size,
        "written": _time(run.written),
        "sweeps": [str(sweep.file) for sweep in sweeps],
    }


def sweep_document(sweep: "KeptSweep") -> dict[str, Any]:
    """Return a sweep without its cells."""
    return {
        "plan": str(sweep.file),
        "name": sweep.name,
        "state": sweep.state,
        "done": sweep.done,
        "total": sweep.total,
        "verdicts": dict(sweep.outcomes),
        "incidents": sweep.incidents,
        "size_bytes": sweep.size,
        "written": _time(sweep.written),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
