"""Progress as plain lines, for files, pipes and schedulers' logs: no control codes, about ten lines a run."""

from collections.abc import Callable
from time import monotonic
from typing import IO, TYPE_CHECKING

from stabilitykit.live.listener import Listener
from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit_cli.line_writer import LineWriter
from stabilitykit_cli.progress import LOSS, RunProgress
from stabilitykit_cli.render.words import clock_time, number, setting, settings, size

if TYPE_CHECKING:
    from stabilitykit.lab.probe import ProbePlan

LINES = 10
"""Progress lines a run, or one a step where there are fewer steps."""


class PlainListener(Listener):
    """Writes a start line, one line about every tenth of the steps, and one line a change of an incident.

    Args:
        stream: Where the lines go. Once it refuses them, training goes on in silence.
        clock: Seconds from any origin.
    """

    def __init__(self, stream: IO[str], clock: Callable[[], float] = monotonic) -> None:
        self._write = LineWriter(stream).write
        self._clock = clock
        self._progress: RunProgress | None = None
        self._told = 0

    def started(self, plan: "ProbePlan") -> None:
        """Say what is trained, on what, and where it is kept."""
        self._progress = RunProgress(plan, self._clock)
        self._write(f"probe {plan.spec.arch}: {settings(plan)}, {size(plan)}")
        self._write(f"corpus: {plan.corpus}")
        self._write(f"folder: {plan.logdir}")

    def record(self, record: StepRecord) -> None:
        """Keep the record; write a line where a tenth of the steps is full."""
        progress = self._progress
        if progress is None:
            return
        progress.add(record)
        due = progress.done * LINES // progress.plan.steps
        if due > self._told:
            self._told = due
            self._write(_progress_line(progress))

    def incident(self, change: IncidentChange) -> None:
        """Write what happened to the incident; an update only where it grew worse or moved."""
        incident = change.incident
        if self._progress is not None:
            before = self._progress.incidents.get(incident.id)
            self._progress.change(change)
            known = before is not None and (before.severity, before.site) == (
                incident.severity,
                incident.site,
            )
            if change.what == "updated" and known:
                return
        if change.what == "closed":
            told = f"closed {incident.kind} at {incident.site}: steps {incident.start} to {incident.end}"
        else:
            told = (
                f"{change.what} {incident.kind} at {incident.site} ({incident.severity}): {incident.message}"
            )
        self._write(f"step {change.step} {told}")

    def notice(self, message: str) -> None:
        """Write the message."""
        self._write(f"note: {message}")


def _progress_line(progress: RunProgress) -> str:
    rate = progress.reading("optim/lr")
    return ", ".join(
        (
            f"step {progress.done}/{progress.plan.steps}",
            f"loss {number(progress.reading(LOSS))}",
            f"lr {'-' if rate is None else setting(rate)}",
            f"grad norm {number(progress.reading('optim/grad_norm'))}",
            f"{clock_time(progress.left)} left",
        )
    )
