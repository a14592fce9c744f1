"""A sweep while it runs, and what came of it."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from stabilitykit_cli.consoles import MAX_WIDTH
from stabilitykit_cli.render.grid import counts, fits, legend, verdict_grid
from stabilitykit_cli.render.words import ASCII, UNICODE, Glyphs, clock_time
from stabilitykit_cli.sweep_progress import SweepProgress

_FIXED = 6
"""Rows beside the grid: head, bar, legend, note, and blank ones."""


class SweepFrame:
    """The sweep as it stands now: how many cells are done, when the rest will be, and what they said.

    Args:
        progress: The sweep.
    """

    def __init__(self, progress: SweepProgress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the parts of the frame."""
        width = min(options.max_width, MAX_WIDTH)
        glyphs = ASCII if options.ascii_only else UNICODE
        yield from self._parts(width, options.size.height, glyphs)

    def _parts(self, width: int, height: int, glyphs: Glyphs) -> Iterator[RenderableType]:
        progress = self._progress
        yield Text.assemble(
            (progress.plan.name, "bold cyan"),
            (f"  {progress.workers} at a time, in {progress.logdir}", "dim"),
            overflow="ellipsis",
            no_wrap=True,
        )
        yield _bar(progress, width, glyphs)
        runs = list(progress.runs.values())
        if runs and fits(runs, width, height - _FIXED):
            yield Text()
            yield verdict_grid(runs, glyphs, width, progress.running)
            yield legend(runs, glyphs)
        elif runs:
            yield counts(runs, glyphs)
        if progress.notice:
            yield Text(progress.notice, style="yellow", overflow="ellipsis", no_wrap=True)


def _bar(progress: SweepProgress, width: int, glyphs: Glyphs) -> Text:
    total = max(1, len(progress.runs))
    told = f"{progress.done}/{total} cells  "
    ending = clock_time(progress.elapsed) if progress.finished else f"{clock_time(progress.left)} left"
    cells = max(8, width - len(told) - len(ending) - 3)
    full = int(cells * (progress.done + sum(progress.running.values())) / total)
    return Text.assemble(
        told,
        (glyphs.filled * min(cells, full), "cyan"),
        (glyphs.empty * (cells - full), "dim"),
        (f"  {ending}", "dim"),
        no_wrap=True,
    )


def swept_lines(folder: Path, tensorboard: str) -> RenderableType:
    """Return where a sweep is kept and how to look at it.

    Args:
        folder: The sweep's folder.
        tensorboard: The command that shows it.
    """
    report = f"stabilitykit report {shlex.quote(str(folder))} -o sweep.html"
    titled = [("folder", str(folder)), ("page", report), ("TensorBoard", tensorboard)]
    return Text("\n").join(Text.assemble((f"{title:<{15}}", "dim"), line) for title, line in titled)
