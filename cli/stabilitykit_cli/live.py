"""The live view's driver: it stores every step, and draws at most four times a second."""

from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live

from stabilitykit.live.listener import Listener
from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit_cli.progress import RunProgress
from stabilitykit_cli.render import LiveFrame, starting_line

if TYPE_CHECKING:
    from stabilitykit.lab.probe import ProbePlan

FRAME_SECONDS = 0.25
"""Time between two frames at least."""


class LiveListener(Listener):
    """Draws the run while it trains, from the training thread itself.

    A refresh thread would take the interpreter from the training loop at moments of its own choosing.

    Args:
        console: A terminal.
        arch: What is about to be trained.
        clock: Seconds from any origin.
    """

    def __init__(self, console: Console, arch: str, clock: Callable[[], float] = monotonic) -> None:
        self._live = Live(starting_line(arch), console=console, auto_refresh=False)
        self._clock = clock
        self._progress: RunProgress | None = None
        self._due = -float("inf")
        self._gone = False

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is None or self._progress.record is None:
            # Before the first step there is nothing to remember: leave the screen as it was.
            self._live.transient = True
        else:
            self._progress.finished = True
            self._draw()
        try:
            self._live.stop()
        except OSError:
            self._gone = True

    def started(self, plan: "ProbePlan") -> None:
        """Draw the first frame."""
        self._progress = RunProgress(plan, self._clock)
        self._draw()

    def record(self, record: StepRecord) -> None:
        """Keep the record; draw where a frame is due."""
        if self._progress is None:
            return
        self._progress.add(record)
        if self._clock() >= self._due:
            self._draw()

    def incident(self, change: IncidentChange) -> None:
        """Keep the incident's newest state; the next frame shows it."""
        if self._progress is not None:
            self._progress.change(change)

    def notice(self, message: str) -> None:
        """Show the message in the next frame."""
        if self._progress is not None:
            self._progress.notice = message

    def _draw(self) -> None:
        if self._progress is None or self._gone:
            return
        try:
            self._live.update(LiveFrame(self._progress), refresh=True)
        except OSError:
            # The terminal has gone; training has not.
            self._gone = True
        self._due = self._clock() + FRAME_SECONDS
