"""The two streams: results on stdout, progress on stderr."""

import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from stabilitykit_cli.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress

MAX_WIDTH = 110
"""Columns used at most: longer lines are hard to read."""
FILE_WIDTH = 100
"""Columns of results that go to a file or a pipe."""
PATIENCE = 1.0
"""Seconds of work after which its progress is shown."""


class StreamConsole(Console):
    """A console for texts of anybody's: brackets are no markup, and a terminal's commands are not sent.

    It lets its caller know when the reader has gone, where rich would end the process.

    Args:
        stderr: Whether to write there.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the parts of what is to be written; those that rich itself commands the terminal by stay."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text), style)

    def on_broken_pipe(self) -> None:
        """Raise what the write raised.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def show(renderable: RenderableType, whole_lines: bool = False) -> None:
    """Print a result on stdout, in colour on a terminal only.

    Args:
        renderable: What to print.
        whole_lines: Whether lines are left as long as they are, so that a command can be copied.
    """
    console = StreamConsole()
    if console.is_terminal:
        console.width = min(console.width, MAX_WIDTH)
    elif "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    with console.capture() as captured:
        console.print(renderable, soft_wrap=whole_lines)
    # Tables fill their cells with blanks, which nobody wants in a file.
    lines = [line.rstrip() for line in captured.get().splitlines()]
    sys.stdout.write("\n".join(lines) + "\n")


def show_lines(lines: Iterable[str]) -> None:
    """Write plain lines to stdout, for those who cut them up; a line break inside one is a blank."""
    write("".join(" ".join(line.split("\n")) + "\n" for line in lines))


def write(text: str) -> None:
    """Write a text to stdout, fit for a terminal."""
    sys.stdout.write(printable(text))


def tell(line: str) -> None:
    """Write a line to stderr, fit for a terminal, if there is somebody to read it."""
    with suppress(OSError):
        sys.stderr.write(printable(" ".join(line.split())) + "\n")
        sys.stderr.flush()


def progress() -> Console:
    """Return the console of progress, on stderr."""
    return StreamConsole(stderr=True)


def can_redraw(console: Console) -> bool:
    """Return whether stderr is a terminal on which lines can be drawn again."""
    # Rich calls a file a terminal when FORCE_COLOR is set; a file must get no control codes.
    return sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal


def never_fail_on_characters() -> None:
    """Let both streams replace characters that their encoding lacks, where they would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def progress_bar(console: Console) -> "Progress":
    """Return a bar that goes when it is done, and shows nothing but on a terminal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    # Names of files are no markup.
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    return Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not can_redraw(console),
    )


@contextmanager
def counting(what: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Give a function that takes how many of how many are done, and shows it where that takes long.

    Args:
        what: What is being done.
        quiet: Whether nothing shall be shown.
    """
    console, began = progress(), time.monotonic()
    bar: Progress | None = None

    def told(done: int, of: int) -> None:
        nonlocal bar
        if bar is None and not quiet and time.monotonic() - began > PATIENCE:
            bar = progress_bar(console)
            bar.add_task(what, total=of)
            bar.start()
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done, total=of)

    try:
        yield told
    finally:
        if bar is not None:
            bar.stop()
