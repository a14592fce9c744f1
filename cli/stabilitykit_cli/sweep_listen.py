"""Who listens to a running sweep: the live view on a terminal, plain lines anywhere else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from stabilitykit.lab.report.landscape import short
from stabilitykit_cli.consoles import can_redraw
from stabilitykit_cli.line_writer import LineWriter
from stabilitykit_cli.render.grid import shown
from stabilitykit_cli.render.sweep import SweepFrame
from stabilitykit_cli.render.words import clock_time, number
from stabilitykit_cli.sweep_progress import SweepProgress

if TYPE_CHECKING:
    from stabilitykit.lab.sweep.grid import SweepPlan, SweepRun
    from stabilitykit.lab.sweep.run_sweep import SweepListener


@contextmanager
def sweep_listener(console: Console) -> "Iterator[SweepListener]":
    """Yield the listener that suits stderr, and leave the terminal as it was found.

    Args:
        console: Where progress goes.
    """
    try:
        if not can_redraw(console):
            yield PlainSweep(console.file)
            return
        with Live(Text("planning", style="dim"), console=console, auto_refresh=False) as live:
            listener = LiveSweep(live)
            try:
                yield listener
            finally:
                listener.finish()
    except KeyboardInterrupt:
        console.print("interrupted; what has ended is kept, and the same command goes on from there")
        raise


class LiveSweep:
    """Draws the sweep at every tick.

    Args:
        live: What is drawn on.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._progress: SweepProgress | None = None

    def planned(self, plan: "SweepPlan", logdir: Path, workers: int) -> None:
        """Begin."""
        self._progress = SweepProgress(plan, logdir, workers)

    def asked(self, runs: "Sequence[SweepRun]") -> None:
        """Take the cells that are asked for."""
        if self._progress:
            self._progress.ask(runs)
            self._draw()

    def ended(self, run: "SweepRun") -> None:
        """Take a cell that has ended."""
        if self._progress:
            self._progress.end(run)

    def tick(self, running: Mapping[str, float]) -> None:
        """Draw how far it is."""
        if self._progress:
            self._progress.running = running
            self._draw()

    def notice(self, message: str) -> None:
        """Show the message in the next frame."""
        if self._progress:
            self._progress.notice = message

    def finish(self) -> None:
        """Draw the last frame; what was not begun leaves nothing."""
        if self._progress is None or not self._progress.runs:
            self._live.transient = True
        else:
            self._progress.finished, self._progress.running = True, {}
            self._draw()

    def _draw(self) -> None:
        if self._progress:
            self._live.update(SweepFrame(self._progress), refresh=True)


class PlainSweep:
    """Writes a line when it begins, and one for each cell that ends.

    Args:
        stream: Where the lines go. Once it refuses them, the sweep goes on in silence.
        clock: Seconds from any origin.
    """

    def __init__(self, stream: IO[str], clock: Callable[[], float] = monotonic) -> None:
        self._write = LineWriter(stream).write
        self._clock = clock
        self._progress: SweepProgress | None = None

    def planned(self, plan: "SweepPlan", logdir: Path, workers: int) -> None:
        """Say what is swept, and where it is kept."""
        self._progress = SweepProgress(plan, logdir, workers, self._clock)
        self._write(f"sweep {plan.name}: {workers} cells at a time, in {logdir}")

    def asked(self, runs: "Sequence[SweepRun]") -> None:
        """Say how many cells there are, and how many are there already."""
        if self._progress:
            self._progress.ask(runs)
            self._write(f"{len(runs)} cells, {self._progress.done} of them there already")

    def ended(self, run: "SweepRun") -> None:
        """Write how a cell ended."""
        progress, result = self._progress, run.result
        if progress is None or result is None:
            return
        progress.end(run)
        values = ", ".join(f"{short(name)} {shown(value)}" for name, value in run.cell.values.items())
        self._write(
            f"{progress.done}/{len(progress.runs)} {values}, seed {run.cell.seed}: {result.outcome}, "
            f"loss {number(result.final_loss)}, {result.seconds:.1f} s, {clock_time(progress.left)} left"
        )
        if result.outcome == "crashed":
            self._write(f"note: {run.cell.key}: {result.reason}")

    def tick(self, running: Mapping[str, float]) -> None:
        """Keep how far it is."""
        if self._progress:
            self._progress.running = running

    def notice(self, message: str) -> None:
        """Write the message."""
        self._write(f"note: {message}")
